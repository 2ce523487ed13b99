from ._file import load as load, load_notes as load_notes, save as save
