// Changes on their way to the file: one after the other, kept until the server says that they are safe.
import {ask, Gone, pause, Refused} from "./server.js";
import {empty} from "./labels.js";

const AGAIN = 2000;  // milliseconds until a change that could not be saved is sent again

export class Saving {
  /** `tell(state, error)` hears "saving", "saved", "gone", "failed", "refused" or "reloaded". */
  constructor(labels, version, tell) {
    this.labels = labels;
    this.version = version;
    this.tell = tell;
    this.waiting = [];
    this.running = this.resting = false;
  }

  get idle() {
    return !this.running && !this.waiting.length;
  }

  push(change) {
    this.waiting.push(change);
    if (!this.resting) this.tell("saving");
    this.run();
  }

  async run() {
    if (this.running) return;
    this.running = true;
    while (this.waiting.length) {
      this.tell("saving");
      if (!await this.send(this.waiting[0])) await this.rest();
    }
    this.running = false;
    this.tell("saved");
  }

  /** Wait before the next try, unless the person asks for it. */
  async rest() {
    this.resting = true;
    await Promise.race([pause(AGAIN), new Promise(done => { this.retry = done; })]);
    this.resting = false;
  }

  /** Send one change; false if it has to wait. */
  async send(change) {
    const body = {version: this.version, add: change.add, remove: change.remove.map(label => label.id)};
    try {
      this.version = (await ask("labels", body)).version;
    } catch (error) {
      return this.failed(change, error);
    }
    this.waiting.shift();
    return true;
  }

  async failed(change, error) {
    if (!(error instanceof Refused || error instanceof Gone)) throw error;
    if (error.status === 409) return this.reload();
    if (error.status === 400 || error.status === 413) {  // it will not be taken at any time
      this.waiting.shift();
      this.labels.revoke(change);
      this.tell("refused", error);
      return true;
    }
    this.tell(error instanceof Gone || error.status === 403 ? "gone" : "failed", error);
    return false;
  }

  /** Another window changed the labels: take them, and put what is not saved yet on top. */
  async reload() {
    try {
      const state = await ask("state");
      const version = this.version;
      this.version = state.version;
      this.labels.replace(state.labels);
      this.waiting = this.waiting.map(change => this.labels.apply(change)).filter(change => !empty(change));
      if (version !== state.version) this.tell("reloaded");
      return true;
    } catch (error) {
      if (!(error instanceof Refused || error instanceof Gone)) throw error;
      this.tell("gone", error);
      return false;
    }
  }

  /** The server has another version than the last one from here: another window, or the file was changed. */
  async follow(version) {
    if (version === this.version || !this.idle) return;
    this.running = true;  // changes made meanwhile wait
    await this.reload();
    this.running = false;
    if (this.waiting.length) this.run();
    else this.tell("saved");
  }
}
