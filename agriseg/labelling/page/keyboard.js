// Everything by keys alone. A key does here what a button of the panel does; typing in a field stays typing.

export const TOOL_KEYS = {p: "point", s: "line", g: "polygon", b: "area", e: "erase", h: "pan"};
const ARROWS = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};
const STEP = 80, FINE = 4;  // screen pixels

const typing = target => target.matches("input:not([type=checkbox]), select, textarea");
const pressing = target => target.closest("button, a, input, summary");

export class Keyboard {
  /** `does`: what keys do, by name; see label.js. */
  constructor(view, hand, gestures, does) {
    Object.assign(this, {view, hand, gestures, does});
    addEventListener("keydown", event => this.pressed(event));
    addEventListener("keyup", event => { if (event.key === " ") this.space(false); });
    addEventListener("blur", () => this.space(false));
  }

  space(held) {
    this.gestures.space = held;
    this.view.element.classList.toggle("grab", held);
  }

  pressed(event) {
    if (document.querySelector("dialog[open]") || typing(event.target)) return;
    if (event.altKey || !this.act(event)) return;
    event.preventDefault();
  }

  act(event) {
    const key = event.key.toLowerCase();
    if (event.ctrlKey || event.metaKey) return this.undoes(key, event.shiftKey);
    if (event.key in ARROWS) return this.pan(ARROWS[event.key], event.shiftKey ? FINE : STEP);
    if (key === "enter" || key === " ") return !pressing(event.target) && this.uses(key, event.repeat);
    if (key === "backspace") return this.hand.tool.back();
    if (key >= "1" && key <= "9") return this.does.choose(Number(key) - 1);
    if (key in TOOL_KEYS) return this.does.take(TOOL_KEYS[key]);
    return this.does[{"+": "closer", "=": "closer", "-": "wider", _: "wider", 0: "whole", n: "next", m: "toggle",
      "?": "help", escape: "escape"}[key]]?.() ?? false;
  }

  undoes(key, shift) {
    if (key === "z") return shift ? this.does.redo() : this.does.undo();
    return key === "y" && this.does.redo();
  }

  pan([x, y], step) {
    this.view.element.focus({preventScroll: true});
    this.does.crosshair(true);
    this.view.shift(x * step, y * step);
    this.hand.tool.hover(this.middle());
    return true;
  }

  uses(key, repeated) {
    if (key === " ") this.space(true);
    else if (!repeated) {
      this.does.crosshair(true);
      this.hand.tool.click({...this.middle(), key: true});
    }
    return true;
  }

  middle() {
    const xy = this.view.middle;
    return {xy, pixel: this.view.pixel(xy), reach: 4, twice: false};
  }
}
