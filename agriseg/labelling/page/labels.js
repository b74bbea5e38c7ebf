// The set of labels on the screen, with undo and redo without end.

/** A change {add: [label], remove: [label]} without what is there already, or is not there to be removed. */
const effective = (change, there) => ({
  add: change.add.filter(label => !there.has(label.id)),
  remove: change.remove.filter(label => there.has(label.id)),
});

const inverse = change => ({add: change.remove, remove: change.add});

export const empty = change => !change.add.length && !change.remove.length;

export class Labels {
  /** `changed(change)` is told of each change on the screen, `made(change)` of those that are to be saved. */
  constructor(changed, made) {
    this.changed = changed;
    this.made = made;
    this.all = new Map();
    this.done = [];
    this.undone = [];
  }

  /** What the person does: one step of undo. */
  do(change) {
    const made = this.apply(change);
    if (empty(made)) return;
    this.done.push(made);
    this.undone = [];
    this.made(made);
  }

  undo() {
    return this.step(this.done, this.undone);
  }

  redo() {
    return this.step(this.undone, this.done);
  }

  /** Take back the last step of `from` that still has an effect; false if there is none. */
  step(from, to) {
    while (from.length) {
      const made = this.apply(inverse(from.pop()));
      if (empty(made)) continue;
      to.push(made);
      this.made(made);
      return true;
    }
    return false;
  }

  /** Show a change; what of it had an effect. */
  apply(change) {
    const now = effective(change, this.all);
    for (const label of now.remove) this.all.delete(label.id);
    for (const label of now.add) this.all.set(label.id, label);
    if (!empty(now)) this.changed(now);
    return now;
  }

  /** Take a change back that could not be saved, so that it is not done again by redo either. */
  revoke(change) {
    this.apply(inverse(change));
    this.done = this.done.filter(step => step !== change);
    this.undone = this.undone.filter(step => step !== change);
  }

  /** The labels of the server in place of these. The steps of undo stay: what they name is looked up when they are taken. */
  replace(labels) {
    const next = new Map(labels.map(label => [label.id, label]));
    this.apply({
      add: labels.filter(label => !this.all.has(label.id)),
      remove: [...this.all.values()].filter(label => !next.has(label.id)),
    });
  }

  /** How many labels a class has; null: areas that are labelled completely. */
  count(name) {
    let count = 0;
    for (const label of this.all.values()) if (label.class === name) count++;
    return count;
  }
}
