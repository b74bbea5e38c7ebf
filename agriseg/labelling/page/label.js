// Start of the page: asks for the state, and ties the map, the labels, the panel and the server together.
import {Gestures} from "./gestures.js";
import {showHelp} from "./help.js";
import {Keyboard} from "./keyboard.js";
import {Labels} from "./labels.js";
import {MapView} from "./map_view.js";
import {Panel} from "./panel.js";
import {Readout} from "./readout.js";
import {Saving} from "./saving.js";
import {ask, Gone, Refused, watch} from "./server.js";
import {Hand} from "./tools.js";
import {preferred, Words} from "./words.js";

const ENDED = "The server has ended. Start agriseg label again; labels that are not saved are kept in this window.";
const find = id => document.getElementById(id);

// what this window shows, so that loading it again does not move it
const remember = (name, value) => sessionStorage.setItem(name, JSON.stringify(value));
const remembered = name => JSON.parse(sessionStorage.getItem(name));

class LabelPage {
  constructor(state, words) {
    Object.assign(this, {state, words, chosen: 0});
    this.labels = new Labels(change => this.changed(change), change => this.saving.push(change));
    this.view = new MapView(find("map"), state, remembered("view"));
    this.panel = new Panel(words, state, this.labels);
    this.saving = new Saving(this.labels, state.version, (how, error) => this.saved(how, error));
    const desk = {
      view: this.view, labels: this.labels, chosen: () => state.classes[this.chosen].name, say: text => this.say(text),
    };
    this.hand = new Hand(desk, name => this.panel.take(name));
    this.readout = new Readout(this.view, state, {bar: find("bar"), length: find("length"), place: find("place")});
    this.gestures = new Gestures(this.view, this.hand, at => this.moved(at));
    this.keyboard = new Keyboard(this.view, this.hand, this.gestures, this.actions());
    this.labels.replace(state.labels);
    this.choose(0);
    this.draw({});
    this.buttons();
    this.view.map.on("moveend", () => this.rested());
    this.view.overlay.settled = head => { find("map").dataset.head = head; };
    addEventListener("beforeunload", event => { if (!this.saving.idle) event.preventDefault(); });
    watch(status => this.hear(status), error => this.lost(error));
  }

  say(text, values) {
    this.panel.say(this.words.say(text, values));
  }

  /** What buttons and keys do. Each says whether there was something to do. */
  actions() {
    const zoom = factor => { this.view.zoom(factor, null, 150); return true; };
    return this.does = {
      choose: index => this.choose(index), take: name => { this.hand.take(name); return true; },
      closer: () => zoom(2), wider: () => zoom(0.5), whole: () => { this.view.whole(); return true; },
      undo: () => this.hand.tool.back() || this.step(this.labels.undo(), "There is nothing to undo."),
      redo: () => this.step(this.labels.redo(), "There is nothing to do again."),
      next: () => this.next(), toggle: () => this.draw({shown: !this.view.overlay.shown}),
      help: () => showHelp(this.words), escape: () => this.escape(), crosshair: shown => this.crosshair(shown),
      improve: () => this.work("improve"), finish: () => this.work("finish"), stop: () => this.work("stop"),
    };
  }

  buttons() {
    const on = (selector, does) => document.querySelectorAll(selector).forEach(button =>
      button.addEventListener("click", event => {
        does(button.dataset);
        if (event.detail) this.view.element.focus({preventScroll: true});  // a pointer: keys go on at the map
      }));
    on("[data-do]", data => this.does[data.do]());
    on("[data-choose]", data => this.choose(Number(data.choose)));
    on("[data-tool]", data => this.hand.take(data.tool));
    on("[data-lang]", data => {
      this.panel.speak(data.lang);
      remember("lang", data.lang);
    });
    on("[data-outline]", data => this.draw({outline: data.outline === "true"}));
    on("#retry", () => this.saving.retry?.());
    find("map-shown").addEventListener("change", event => this.draw({shown: event.target.checked}));
    find("opacity").addEventListener("input", event => this.draw({opacity: event.target.value / 100}));
  }

  // what the person does

  choose(index) {
    if (index >= this.state.classes.length) return false;
    this.chosen = index;
    this.panel.choose(index);
    if (["erase", "pan", "area"].includes(this.hand.name)) this.hand.take("point");
    return true;
  }

  step(done, nothing) {
    if (!done) this.say(nothing);
    return true;
  }

  draw(options) {
    this.view.overlay.set(options);
    this.panel.draws(this.view.overlay);
    return true;
  }

  crosshair(shown) {
    find("crosshair").toggleAttribute("hidden", !shown);
  }

  escape() {
    this.hand.tool.cancel();
    this.crosshair(false);
    this.view.mark(null);
    this.panel.why(null);
    this.panel.say("");
    return true;
  }

  moved(at) {
    if (at) this.crosshair(false);
    this.readout.tell(at?.xy);
  }

  async next() {
    const place = await this.request("next", this.view.seen);
    if (!place) return;
    this.view.mark(place);
    this.view.fit([place.x, place.y, place.x + place.width, place.y + place.height]);
    this.panel.why(place.why);
    this.panel.say(this.words.said(place.why));
  }

  work(what) {
    const minutes = find("minutes");
    if (what === "stop") return this.request(what, {});
    if (!minutes.reportValidity()) return null;
    return this.request(what, {minutes: minutes.valueAsNumber});
  }

  /** Ask the server; what it refuses is said. */
  async request(address, body) {
    try {
      return await ask(address, body);
    } catch (error) {
      if (error instanceof Refused) this.panel.say(this.words.said(error.message));
      else this.lost(error);
      return null;
    }
  }

  // what happens

  changed(change) {
    this.view.show(change);
    this.panel?.counts();
  }

  rested() {
    remember("view", this.view.stand);
    ask("view", {...this.view.seen, factor: this.view.factor}).catch(error => this.lost(error));
    if (!find("crosshair").hasAttribute("hidden")) this.readout.tell(this.view.middle);
  }

  hear(status) {
    this.panel.alert("");
    this.panel.hear(status);
    this.view.overlay.update(status.head, status.known);
    this.saving.follow(status.version);
  }

  saved(how, error) {
    if (how === "reloaded") return this.say("Another window changed the labels. They were loaded again.");
    if (how === "refused") return this.say("This label is not taken: {error}", {error: this.words.said(error.message)});
    this.panel.saved(how, error);
    this.panel.counts();
    if (how === "gone") this.lost(error);
  }

  lost(error) {
    if (error instanceof Gone || error.status === 403) this.panel.alert(this.words.say(ENDED));
  }
}

const start = async () => {
  const [state, catalogue] = await Promise.all([ask("state"), ask("page/words.json")]);
  return new LabelPage(state, new Words(catalogue, remembered("lang") ?? preferred(navigator.languages)));
};

start().catch(error => {
  if (!(error instanceof Gone || error instanceof Refused)) throw error;
  find("alert").textContent = error.message || ENDED;
  find("alert").hidden = false;
});
