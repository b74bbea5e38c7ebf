// The panel beside the map: what it says and which of its buttons are pressed.

const find = id => document.getElementById(id);

const made = (name, text, of = {}) => Object.assign(document.createElement(name), {textContent: text}, of);

const percent = share => `${Math.round(100 * share)} %`;

const SAVED = {
  saved: "Saved in {file}", saving: "Saving…", gone: "Not saved: the server has ended", failed: "Not saved: {error}",
};

const JOBS = {
  "improve running": "Training the whole network on your labels", "finish running": "Training, then mapping the whole field",
  "improve done": "The network is trained, and the map is drawn anew.",
  "finish done": "The model, the map and the report are ready.",
  failed: "This did not work:", stopped: "Stopped.",
};

export class Panel {
  constructor(words, state, labels) {
    Object.assign(this, {words, state, labels, status: null, saving: ["saved", null], told: null});
    find("name").textContent = state.name;
    document.title = `${state.name} · agriseg label`;
    find("classes").replaceChildren(...state.classes.map((each, index) => this.row(each, index)));
    this.speak(words.lang);
  }

  row({name, colour}, index) {
    const button = made("button", "", {type: "button"});
    button.dataset.choose = index;
    const swatch = made("i", "");
    swatch.style.background = colour;
    button.append(swatch, made("span", name));
    if (index < 9) button.append(made("kbd", index + 1));
    button.append(made("output", "0"));
    const item = made("li", "");
    item.append(button);
    return item;
  }

  /** Say everything in another language. */
  speak(lang) {
    this.words.lang = lang;
    this.words.put(document);
    for (const button of document.querySelectorAll("[data-lang]")) press(button, button.dataset.lang === lang);
    this.saved(...this.saving);
    this.counts();
    this.hear(this.status);
    this.why(this.told);
  }

  // what is chosen

  choose(index) {
    for (const button of document.querySelectorAll("[data-choose]")) press(button, Number(button.dataset.choose) === index);
  }

  take(name) {
    for (const button of document.querySelectorAll("button[data-tool]")) press(button, button.dataset.tool === name);
    find("map").dataset.hand = name;
  }

  /** How the map is drawn. */
  draws({shown, outline}) {
    find("map-shown").checked = shown;
    for (const button of document.querySelectorAll("[data-outline]"))
      press(button, (button.dataset.outline === "true") === outline);
  }

  // what is known

  counts() {
    const {labels, words} = this;
    this.state.classes.forEach(({name}, index) => {
      const button = document.querySelector(`[data-choose="${index}"]`), count = labels.count(name);
      button.querySelector("output").textContent = count;
      button.title = words.say("{count} labels", {count});
    });
    find("undo").disabled = !labels.done.length;
    find("redo").disabled = !labels.undone.length;
  }

  saved(how, error) {
    this.saving = [how, error];
    const text = this.words.say(SAVED[how], {file: this.state.file, error: this.words.said(error?.message)});
    find("saved").className = how;
    find("saved").querySelector("span").textContent = text;
    find("retry").hidden = how !== "failed" && how !== "gone";
  }

  /** A status of the server. */
  hear(status) {
    this.status = status;
    const {words} = this;
    find("map-controls").hidden = find("style").hidden = !status?.head;
    find("next").disabled = !status?.head;
    find("learning").textContent = status?.training ? words.say("learning…") : "";
    find("needs").textContent = words.said(status?.needs ?? "");
    if (!status) return;
    find("sure").textContent = status.sure === null ? words.say("unknown") : percent(status.sure);
    find("known").textContent = words.say("{share} of the field", {share: percent(status.known)});
    this.score(status.score);
    find("remarks").replaceChildren(...status.remarks.map(text => made("li", words.said(text))));
    this.work(status.job);
  }

  score(score) {
    const {text, classes} = score ?? {text: this.words.say("not counted yet"), classes: {}};
    const each = Object.entries(classes).filter(([, value]) => value !== null)
      .map(([name, value]) => `${name} ${value.toFixed(2)}`).join(" · ");
    find("score").replaceChildren(made("span", this.words.said(text)));
    if (each) find("score").append(made("small", each));
  }

  work(job) {
    const running = job?.state === "running", bar = find("progress"), done = job?.state === "done";
    find("improve").disabled = find("finish").disabled = running || !this.status.head;
    const shown = job && find("job").hidden;
    find("job").hidden = !job;
    if (!job) return;
    if (shown) find("job").scrollIntoView({block: "nearest"});
    find("job").className = job.state;
    find("running").hidden = !running;
    if (job.progress === null) bar.removeAttribute("value");
    else bar.value = job.progress;
    find("job-state").textContent = this.words.say(JOBS[`${job.kind} ${job.state}`] ?? JOBS[job.state]);
    find("job-text").textContent = done ? "" : this.words.said(job.text);
    find("report").hidden = !(done && job.report);
    if (done && job.report) find("report").href = job.report;
  }

  /** Why the next place is worth a label. */
  why(text) {
    this.told = text;
    find("why").textContent = text ? this.words.said(text) : "";
  }

  // messages over the map

  say(text) {
    const line = find("message");
    line.textContent = text;
    line.classList.toggle("shown", Boolean(text));
    clearTimeout(this.hiding);
    this.hiding = setTimeout(() => line.classList.remove("shown"), 6000);
  }

  alert(text) {
    find("alert").textContent = text;
    find("alert").hidden = !text;
  }
}

const press = (button, pressed) => button.setAttribute("aria-pressed", pressed);
