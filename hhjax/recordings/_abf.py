"""Recordings in Axon Binary Format."""

import struct
from pathlib import Path, PureWindowsPath
from typing import Any, cast, NamedTuple

import numpy as np

from ._recording import assemble, check_lengths, IN_MV, IN_PA, note, Recording
from ._voltage_clamp import assemble_clamp, VoltageClampRecording

_OFF, _EPOCHS, _FILE = 0, 1, 2  # nWaveformSource
_LONG_HEADER = 6144  # bytes, of ABF 1 since version 1.6; pyABF looks for the command behind a shorter one
_DIFFER = 0.5  # mV, between sweeps in means of 10 ms: more than noise


class _Mode(NamedTuple):
    """What an amplifier clamps: the units of the inputs and of the commands that go with it."""

    name: str
    inputs: dict[str, float]
    outputs: dict[str, float]


_MODES = (_Mode("current", IN_MV, IN_PA), _Mode("voltage", IN_PA, IN_MV))


def read(path: Path, clamp: str | None = None) -> Recording | VoltageClampRecording:
    try:
        import pyabf
        from pyabf.stimulus import Stimulus
    except ImportError as error:
        raise ImportError("Reading .abf needs pyABF: pip install 'hhjax[abf]'.") from error
    content = path.read_bytes()
    _check_sizes(content)
    abf = cast(Any, pyabf.ABF(str(path), cacheStimulusFiles=False))
    outputs = _outputs(abf, content)
    inputs = _inputs(abf, content)
    mode = _mode(path, inputs, outputs, clamp)
    read_out = [k for k, unit in enumerate(inputs) if unit in mode.inputs]
    commands = [k for k, (unit, _) in enumerate(outputs) if unit in mode.outputs]
    channel = read_out[0]
    if len(read_out) > 1:
        names = ", ".join(repr(str(abf.adcNames[k]).strip(" \0")) for k in read_out)
        unit = next(iter(mode.inputs))
        note(path, f"of the {len(read_out)} channels in {unit}, {names}, the first is read.")
    playing = [k for k in commands if outputs[k][1] != _OFF] or commands
    output = channel if channel in playing else playing[0]
    unit, source = outputs[output]
    if source not in (_OFF, _EPOCHS, _FILE):
        raise ValueError(f"{path.name} has a command of an unknown kind, {source}.")
    sweeps = []
    waveforms = _waveforms(path, abf, output) if source == _FILE else []
    for sweep in abf.sweepList:
        abf.setSweep(sweep, channel=channel)
        response = np.array(abf.sweepY, float) * mode.inputs[inputs[channel]]
        if source == _FILE:
            command = waveforms[sweep % len(waveforms)]
        elif source == _EPOCHS:
            command = Stimulus(abf, output).stimulusWaveform(sweep)
        else:
            command = np.full(response.size, abf.holdingCommand[output])
        command = np.array(command, float)[: response.size] * mode.outputs[unit]
        if not np.isfinite(command).all():
            raise ValueError(f"{path.name} has a command that pyABF does not read, in sweep {sweep}.")
        sweeps.append((command, response))
    check_lengths(path, [response.size for _, response in sweeps])
    interval = _interval(abf)
    doubts = _doubts(abf, content)
    if mode.name == "voltage":
        if doubts:
            raise ValueError(
                f"{path.name} does not hold the command: {doubts[0]}. Make a recording with it: "
                "hh.VoltageClampRecording(ts, V, current, 'pA')."
            )
        return assemble_clamp(path, interval, sweeps, **_leak_subtraction(path, abf, output))
    levels = {float(x) for command, _ in sweeps for x in (command.min(), command.max())}
    if len(levels) == 1 and _differ([V for _, V in sweeps], interval):
        doubts.append(f"the command is a holding level of {levels.pop():g} pA, although the responses differ")
    for doubt in doubts:
        note(
            path,
            f"the current that was injected is not in the file: {doubt}. hh.fit wants a recording with the "
            'current: hh.Recording(ts, current, V, "pA", held=True).',
        )
    return assemble(path, interval, sweeps, current_known=not doubts)


def _mode(path: Path, inputs: list[str], outputs: list[tuple[str, int]], clamp: str | None) -> _Mode:
    """The kind of clamp: that whose command plays a waveform, where inputs and outputs go with both."""
    found = [
        mode
        for mode in _MODES
        if clamp in (None, mode.name)
        and any(unit in mode.inputs for unit in inputs)
        and any(unit in mode.outputs for unit, _ in outputs)
    ]
    plays = lambda mode: any(unit in mode.outputs and source != _OFF for unit, source in outputs)
    if found:
        return next(filter(plays, found), found[0])
    kind = "" if clamp is None else f"{clamp}-clamp "
    got = [", ".join(dict.fromkeys(u or "no unit" for u in x)) for x in (inputs, [u for u, _ in outputs])]
    raise ValueError(
        f"{path.name} is no {kind}recording: it needs inputs in mV and commands in pA (current clamp), or "
        f"inputs in pA and commands in mV (voltage clamp), got inputs in {got[0]} and commands in {got[1]}."
    )


def _leak_subtraction(path: Path, abf: Any, output: int) -> dict[str, Any]:
    """The P/n leak subtraction that the currents went through, as fields of a recording."""
    if abf.abfVersion["major"] == 1:
        return {}
    dac = abf._dacSection
    if dac.nLeakSubtractType[output] != 1 or abf._protocolSection.nShowPNRawData:
        return {}
    pulses = int(dac.nPNNumPulses[output]) * (-1 if dac.nPNPolarity[output] < 0 else 1)
    holding = float(dac.fPNHoldingLevel[output])
    note(path, f"the header says that a P/{pulses} leak subtraction from {holding:g} mV was made.")
    return {"leak_pulses": pulses, "leak_holding": holding}


def _check_sizes(content: bytes) -> None:
    """Refuse a header whose tables reach beyond the file."""
    if len(content) < 2048 or content[:4] not in (b"ABF ", b"ABF2"):
        raise ValueError("it does not begin as an ABF file does.")
    if content[:4] == b"ABF2":
        sections = [struct.unpack_from("<IIq", content, 76 + 16 * k) for k in range(18)]
        ends = [512 * block + size * count for block, size, count in sections if count]
        points, sweeps = sections[10][2], struct.unpack_from("<I", content, 12)[0]
        counts = [count for *_, count in sections]
    else:
        points, sweeps, data, tags = (struct.unpack_from("<i", content, at)[0] for at in (10, 16, 40, 48))
        tag_block = struct.unpack_from("<i", content, 44)[0]
        width = 4 if struct.unpack_from("<h", content, 100)[0] == 1 else 2
        ends = [512 * data + width * points, 512 * tag_block + 64 * tags if tags else 0]
        counts = [points, sweeps, data, tags]
    if min(counts) < 0 or max(ends, default=0) > len(content) or sweeps > points:
        raise ValueError(
            f"its header speaks of {points} samples in {sweeps} sweeps and of {max(ends, default=0)} bytes; "
            f"the file has {len(content)}."
        )


def _unit(written: str | bytes | None) -> str:
    """A unit as it is meant; nothing where there is none."""
    text = written.decode("latin-1") if isinstance(written, bytes) else written or ""
    return text.strip(" \0?").replace("uA", "µA").replace("uV", "µV")


def _inputs(abf: Any, content: bytes) -> list[str]:
    """The unit of each channel."""
    if abf.abfVersion["major"] == 1:  # of `µV` pyABF leaves `V`
        starts = [602 + 8 * abf._headerV1.nADCSamplingSeq[k] for k in range(abf.channelCount)]
        return [_unit(content[start : start + 8]) for start in starts]
    return [_unit(unit) for unit in abf.adcUnits]


def _outputs(abf: Any, content: bytes) -> list[tuple[str, int]]:
    """The unit of each output and where its command comes from; holding levels are put right."""
    if abf.abfVersion["major"] == 1:
        header = abf._headerV1
        # pyABF takes the levels of the first epochs for those of holding.
        abf.holdingCommand = list(struct.unpack_from("<4f", content, 1394))
        if abf.dataByteStart < _LONG_HEADER:
            sources = [_OFF] * 4
        else:
            both = zip(header.nWaveformEnable, header.nWaveformSource)
            sources = [source if on else _OFF for on, source in both] + [_OFF] * 2
        units = [_unit(content[1346 + 8 * k : 1354 + 8 * k]) for k in range(4)]
        return list(zip(units, sources))
    dac, strings = abf._dacSection, abf._stringsSection._indexedStrings
    both = zip(dac.nWaveformEnable, dac.nWaveformSource)
    sources = [source if on else _OFF for on, source in both]
    return [(_unit(strings[unit]), source) for unit, source in zip(dac.lDACChannelUnitsIndex, sources)]


def _interval(abf: Any) -> float:
    """Sampling interval, ms; pyABF's rate is rounded to a whole number of Hz."""
    if abf.abfVersion["major"] == 1:
        return abf._headerV1.fADCSampleInterval * abf.channelCount / 1e3
    return abf._protocolSection.fADCSequenceInterval / 1e3


def _waveforms(path: Path, abf: Any, output: int) -> list[np.ndarray]:
    """The command of every sweep, or one for all, from the file that the header names."""
    import pyabf

    if abf.abfVersion["major"] == 1:
        header = abf._headerV1
        written = str(header.sDACFilePath[output]).strip(" \0")
    else:
        header = abf._dacSection
        written = abf._stringsSection._indexedStrings[header.lDACFilePathIndex[output]]
    name = PureWindowsPath(written).name
    found = next((x for x in (Path(written), path.parent / name) if name and x.is_file()), None)
    if found is None:
        raise ValueError(
            f"{path.name} takes its command from the file {written!r}, which is not there. Put it beside the "
            "recording."
        )
    scale, offset, only = (
        of[output] for of in (header.fDACFileScale, header.fDACFileOffset, header.lDACFileEpisodeNum)
    )
    kinds = {".abf": pyabf.ABF, ".atf": pyabf.ATF}
    if found.suffix.lower() not in kinds:
        raise ValueError(f"{path.name} takes its command from {name!r}, which is no .abf or .atf file.")
    try:
        played = cast(Any, kinds[found.suffix.lower()](str(found)))
        waveforms = []
        for sweep in played.sweepList:
            played.setSweep(sweep)
            waveforms.append(offset + (scale or 1.0) * np.array(played.sweepY, float))
    except Exception as error:
        raise ValueError(f"{path.name} takes its command from {name!r}, which is damaged: {error}") from error
    only = max(only, 0)  # otherwise each sweep has the one of its number
    if only > len(waveforms) or (not only and len(waveforms) not in (1, abf.sweepCount)):
        raise ValueError(
            f"{path.name} has {abf.sweepCount} sweeps, but {name!r}, from which their command comes, has "
            f"{len(waveforms)}."
        )
    return waveforms[only - 1 : only] if only else waveforms


def _doubts(abf: Any, content: bytes) -> list[str]:
    """What says that the commands are not what the cell got."""
    doubts = []
    if abf.abfVersion["major"] == 1:
        if abf.dataByteStart < _LONG_HEADER and struct.unpack_from("<h", content, 1438)[0]:
            doubts.append("its version of the format is too old to read the command")
        listed = any(abf._headerV1.nULEnable[:2])
    else:
        block, size, count = struct.unpack_from("<IIq", content, 172)
        starts = [512 * block + size * k for k in range(count)]
        listed = any(struct.unpack_from("<h", content, start + 2)[0] for start in starts)
        if abf._protocolSection.nAlternateDACOutputState:
            doubts.append("its sweeps alternate between outputs")
    if listed:
        doubts.append("a user list changes the command from sweep to sweep")
    return doubts


def _differ(responses: list[np.ndarray], interval: float) -> bool:
    """Whether voltages differ from sweep to sweep by more than noise."""
    length = min(V.size for V in responses)
    width = min(max(round(10.0 / interval), 1), length)
    blocks = np.stack([V[: length // width * width].reshape(-1, width).mean(axis=1) for V in responses])
    return bool(np.ptp(blocks, axis=0).max() > _DIFFER)
