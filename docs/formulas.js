// Formulas of pages (arithmatex) and of notebooks ($ in their text), with the KaTeX beside this file.
const delimiters = [["$$", "$$", true], ["\\[", "\\]", true], ["\\(", "\\)", false], ["$", "$", false]]
  .map(([left, right, display]) => ({left, right, display}));
for (const text of document.querySelectorAll(".arithmatex, .jp-RenderedMarkdown")) {
  renderMathInElement(text, {delimiters, throwOnError: false});
}
