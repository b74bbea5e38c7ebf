// The languages of the page. A sentence is its own English; words.json has its Chinese, with {name} for values:
// "page" what the page says, "server" what the server says.

const escape = text => text.replace(/[.*+?^$()|[\]\\]/g, "\\$&");

/** A sentence with places for values as a pattern that finds the values. */
const pattern = sentence =>
  new RegExp(`^${escape(sentence).replace(/\{(\w+)\}/g, (_, name) => `(?<${name}>.+?)`).replace(/[{}]/g, "\\$&")}$`, "s");

const filled = (text, values) => text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);

export class Words {
  constructor({page, server}, lang) {
    this.page = page;
    this.server = Object.entries(server).map(([sentence, text]) => [pattern(sentence), text]);
    this.lang = lang;
  }

  /** A sentence of the page. */
  say(sentence, values = {}) {
    return filled(this.lang === "zh" ? this.page[sentence] ?? sentence : sentence, values);
  }

  /** A sentence of the server, with its values in it; or several, with semicolons between them. */
  said(text) {
    if (this.lang !== "zh" || !text) return text;
    for (const [find, chinese] of this.server) {
      const found = find.exec(text);
      if (found) return filled(chinese, this.values(found.groups ?? {}));
    }
    return text.includes("; ") ? text.split("; ").map(part => this.said(part)).join("\uff1b") : text;
  }

  values(groups) {
    return Object.fromEntries(Object.entries(groups).map(([name, value]) => [name, this.said(value)]));
  }

  /** Put the words of the language on everything in `root` that is marked with data-word, -title or -name. */
  put(root) {
    document.documentElement.lang = this.lang === "zh" ? "zh-CN" : "en";
    for (const element of root.querySelectorAll("[data-word]")) element.textContent = this.say(element.dataset.word);
    for (const element of root.querySelectorAll("[data-title]")) element.title = this.say(element.dataset.title);
    for (const element of root.querySelectorAll("[data-name]"))
      element.setAttribute("aria-label", this.say(element.dataset.name));
  }
}

/** Chinese if the browser asks for Chinese before English. */
export const preferred = languages => {
  const first = languages.map(each => each.slice(0, 2)).find(each => each === "zh" || each === "en");
  return first ?? "en";
};
