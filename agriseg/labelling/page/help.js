// The list of keys and gestures.

const KEYS = [
  [["1", "…", "9"], "choose the class"],
  [["P"], "click plants: one label each; on a label: change its class"],
  [["S"], "paint a stroke: drag, or click its corners"],
  [["G"], "draw a polygon: drag, or click its corners"],
  [["B"], "a box in which all plants are labelled: the rest of it is the first class"],
  [["E"], "erase labels: click or drag over them"],
  [["H"], "move the image; also with Space held, the middle button or two fingers"],
  [["Enter"], "put a label, or a corner, at the crosshair in the middle"],
  [["Enter", "Enter"], "end a stroke or a polygon at the same place"],
  [["Backspace"], "take the last corner back"],
  [["Esc"], "stop drawing; hide the crosshair and the box"],
  [["←", "↑", "→", "↓"], "move the image; with Shift in small steps"],
  [["+", "−", "0"], "closer, wider, the whole field"],
  [["M"], "show or hide the map"],
  [["N"], "go to the next place where a label teaches most"],
  [["Ctrl Z"], "undo; with Shift redo"],
  [["?"], "show this list"],
];

export const showHelp = words => {
  const rows = KEYS.flatMap(([keys, text]) => {
    const term = document.createElement("dt"), told = document.createElement("dd");
    term.append(...keys.map(key => Object.assign(document.createElement("kbd"), {textContent: key})));
    told.textContent = words.say(text);
    return [term, told];
  });
  document.getElementById("keys").replaceChildren(...rows);
  document.getElementById("help").showModal();
  return true;
};
