// Pointers on the map: one draws with the tool or moves the map, two move and zoom. Mouse, pen and fingers alike.

const SLOP = {mouse: 5, pen: 6, touch: 12};  // screen pixels until a press is a drag
const TWICE = 400;  // milliseconds between the two presses of a double click

const between = ([a, b]) => ({
  x: (a.x + b.x) / 2, y: (a.y + b.y) / 2, span: Math.hypot(a.x - b.x, a.y - b.y),
});

export class Gestures {
  /** `hand.tool` is the tool; `moved()` is told of the pointer's place, so that it can be shown. */
  constructor(view, hand, moved) {
    Object.assign(this, {view, hand, moved, down: new Map(), mode: "none", space: false, last: null});
    const on = (name, does) => view.element.addEventListener(name, does);
    on("pointerdown", event => this.pressed(event));
    on("pointermove", event => this.went(event));
    on("pointerup", event => this.released(event));
    on("pointercancel", event => this.lost(event));
    on("pointerleave", event => { if (!this.down.size) this.moved(null, event); });
    on("contextmenu", event => event.preventDefault());
    on("mousedown", event => { if (event.button === 1) event.preventDefault(); });  // no scrolling by the middle button
  }

  /** Where an event is: on the raster, on the screen, and how near is "at the same place". */
  place(event) {
    const box = this.view.element.getBoundingClientRect();
    const pixel = [event.clientX - box.left, event.clientY - box.top];
    return {xy: this.view.at(event), pixel, reach: SLOP[event.pointerType] ?? SLOP.touch};
  }

  pressed(event) {
    if (event.button === 2 || event.target.closest("button, a")) return;
    if (event.pointerType === "touch" && [...this.down.values()].some(each => each.type === "pen")) return;  // the palm
    this.view.element.focus({preventScroll: true});
    this.view.element.setPointerCapture(event.pointerId);
    this.down.set(event.pointerId, {x: event.clientX, y: event.clientY, type: event.pointerType});
    if (this.down.size === 2) this.pinch();
    if (this.down.size > 1) return;
    const at = this.place(event);
    this.start = {pixel: at.pixel, reach: at.reach, dragged: false};
    this.mode = this.space || event.button === 1 || this.hand.tool.pans ? "pan" : "tool";
    if (this.mode === "tool") this.hand.tool.press(at);
    this.view.element.classList.toggle("grabbed", this.mode === "pan");
  }

  pinch() {
    if (this.mode === "tool") this.hand.tool.cancel();
    this.mode = "pinch";
    this.held = between([...this.down.values()]);
  }

  went(event) {
    const at = this.place(event), before = this.down.get(event.pointerId);
    this.moved(at, event);
    if (!before) {
      if (!this.down.size) this.hand.tool.hover(at);
      return;
    }
    this.down.set(event.pointerId, {...before, x: event.clientX, y: event.clientY});
    const far = Math.hypot(at.pixel[0] - this.start.pixel[0], at.pixel[1] - this.start.pixel[1]) > this.start.reach;
    if (far && !this.start.dragged) this.drags();
    if (this.mode === "pinch") this.pinched();
    else if (this.mode === "pan") this.view.shift(before.x - event.clientX, before.y - event.clientY);
    else if (this.mode === "tool" && this.start.dragged) this.draws(event, at);
  }

  /** A press has become a drag: of the map, where the tool only clicks. */
  drags() {
    this.start.dragged = true;
    if (this.mode !== "tool" || !this.hand.tool.clicks) return;
    this.hand.tool.cancel();
    this.mode = "pan";
    this.view.element.classList.add("grabbed");
  }

  draws(event, at) {
    const all = event.getCoalescedEvents?.() ?? [];
    for (const each of all.length ? all : [event]) this.hand.tool.drag(all.length ? this.place(each) : at);
  }

  pinched() {
    const now = between([...this.down.values()].slice(0, 2)), {held} = this;
    this.held = now;
    const box = this.view.element.getBoundingClientRect();
    this.view.shift(held.x - now.x, held.y - now.y);
    if (held.span > 0 && now.span > 0) this.view.zoom(now.span / held.span, [now.x - box.left, now.y - box.top]);
  }

  released(event) {
    if (!this.down.delete(event.pointerId)) return;
    if (this.mode === "tool") this.finish(event);
    this.mode = this.down.size ? "rest" : "none";  // the finger that stays does not draw
    this.view.element.classList.remove("grabbed");
  }

  finish(event) {
    const at = this.place(event), {last} = this;
    if (this.start.dragged) return this.hand.tool.dragged(at);
    const near = last && Math.hypot(at.pixel[0] - last.pixel[0], at.pixel[1] - last.pixel[1]) < 2 * at.reach;
    const twice = near && event.timeStamp - last.time < TWICE;
    this.last = twice ? null : {pixel: at.pixel, time: event.timeStamp};
    this.hand.tool.click({...at, twice});
  }

  lost(event) {
    if (!this.down.delete(event.pointerId)) return;
    if (this.mode === "tool") this.hand.tool.cancel();
    this.mode = this.down.size ? "rest" : "none";
    this.view.element.classList.remove("grabbed");
  }
}
