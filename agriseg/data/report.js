(() => {
  const find = selector => document.querySelector(selector);
  const data = JSON.parse(find("#data").textContent), sheet = find("svg.sheet"), stage = find(".stage"), readout = find(".readout");
  const whole = {x: 0, y: 0, w: data.width, h: data.height};
  const closest = Math.max(data.width, data.height) / 24;  // pixels that are still across at the largest zoom
  let view = {...whole};

  const show = next => {
    const size = Math.min(1, Math.max(next.w / data.width, closest / Math.max(data.width, data.height)));
    const w = data.width * size, h = data.height * size;
    const inside = (start, length, all) => Math.min(Math.max(start, 0), all - length);
    view = {x: inside(next.x + (next.w - w) / 2, w, data.width), y: inside(next.y + (next.h - h) / 2, h, data.height), w, h};
    sheet.setAttribute("viewBox", `${view.x} ${view.y} ${view.w} ${view.h}`);
    stage.classList.toggle("zoomed", size < 1);
    fit();
  };
  const fit = () => {  // pins and the scale bar keep their size on the screen
    const matrix = sheet.getScreenCTM();
    if (!matrix) return;
    const pixel = 1 / matrix.a, small = stage.clientWidth < 480 ? 0.7 : 1;
    for (const pin of sheet.querySelectorAll(".pin"))
      pin.setAttribute("transform", `translate(${pin.dataset.x} ${pin.dataset.y}) scale(${pixel * small})`);
    const bar = find(".bar");
    if (!bar || !data.gsd) return;
    const metres = data.gsd * data.columns / data.width * pixel, most = 140 * metres, power = 10 ** Math.floor(Math.log10(most));
    const length = [5, 2, 1].map(step => step * power).find(each => each <= most);
    bar.querySelector("svg").setAttribute("width", length / metres);
    bar.querySelector("span").textContent = length >= 1000 ? `${length / 1000} km` : length >= 1 ? `${length} m` : `${+(length * 100).toPrecision(3)} cm`;
  };
  const zoom = (factor, x = view.x + view.w / 2, y = view.y + view.h / 2) =>
    show({x: x - (x - view.x) * factor, y: y - (y - view.y) * factor, w: view.w * factor, h: view.h * factor});
  const place = event => new DOMPoint(event.clientX, event.clientY).matrixTransform(sheet.getScreenCTM().inverse());

  // what lies where: the pictures themselves are read, so that what is told is what is shown
  const ids = new Uint8Array(data.width * data.height).fill(255), doubt = new Uint8Array(data.width * data.height);
  const paint = async (image, put) => {
    const canvas = new OffscreenCanvas(data.width, data.height), context = canvas.getContext("2d", {willReadFrequently: true});
    const picture = new Image();
    picture.src = image.getAttribute("href");
    await picture.decode();
    context.drawImage(picture, 0, 0);
    const pixels = context.getImageData(0, 0, data.width, data.height).data;
    for (let index = 0; index < put.length; index++) if (pixels[4 * index + 3]) put[index] = +image.dataset.id;
  };
  const ready = Promise.all([...sheet.querySelectorAll("image.area")].map(image => paint(image, ids))
    .concat([...sheet.querySelectorAll("image.doubt")].map(image => paint(image, doubt))));
  ready.then(() => document.documentElement.classList.add("ready"));

  const degrees = (across, down) => {
    const last = data.nodes - 1, col = Math.min(last - 1, Math.floor(across * last)), row = Math.min(last - 1, Math.floor(down * last));
    const u = across * last - col, v = down * last - row;
    return [data.lon, data.lat].map(grid => (1 - v) * ((1 - u) * grid[row][col] + u * grid[row][col + 1])
      + v * ((1 - u) * grid[row + 1][col] + u * grid[row + 1][col + 1]));
  };
  const tell = (x, y) => {
    if (x < 0 || y < 0 || x >= data.width || y >= data.height) return readout.replaceChildren();
    const index = Math.floor(y) * data.width + Math.floor(x), across = x / data.width, down = y / data.height;
    const col = across * data.columns, row = down * data.rows, [a, b, c, d, e, f] = data.transform, parts = [];
    const name = document.createElement("b");
    name.textContent = data.classes[ids[index]] ?? data.words.none;
    if (doubt[index]) parts.push(data.words.doubtful);
    if (data.nodes) { const [lon, lat] = degrees(across, down); parts.push(`${lat.toFixed(7)}, ${lon.toFixed(7)}`); }
    const decimals = Math.max(Math.abs(a), Math.abs(b)) < 0.001 ? 7 : 2;
    if (data.crs) parts.push(`${data.crs} ${(a * col + b * row + c).toFixed(decimals)}, ${(d * col + e * row + f).toFixed(decimals)}`);
    parts.push(`${data.words.column} ${Math.floor(col)}, ${data.words.row} ${Math.floor(row)}`);
    readout.replaceChildren(name, ` · ${parts.join(" · ")}`);
  };

  const fingers = new Map();
  let moved = null;
  sheet.addEventListener("pointerdown", event => {
    fingers.set(event.pointerId, event);
    if (event.pointerType !== "touch") sheet.setPointerCapture(event.pointerId);
    moved = place(event);
  });
  sheet.addEventListener("pointermove", event => {
    const here = place(event);
    tell(here.x, here.y);
    if (!fingers.has(event.pointerId)) return;
    const before = [...fingers.values()];
    fingers.set(event.pointerId, event);
    const after = [...fingers.values()];
    if (after.length === 2) {
      const span = pair => Math.hypot(pair[0].clientX - pair[1].clientX, pair[0].clientY - pair[1].clientY);
      const middle = place({clientX: (after[0].clientX + after[1].clientX) / 2, clientY: (after[0].clientY + after[1].clientY) / 2});
      if (span(after) > 0) zoom(span(before) / span(after), middle.x, middle.y);
    } else if (stage.classList.contains("zoomed") && moved) {
      show({...view, x: view.x + moved.x - here.x, y: view.y + moved.y - here.y});
      moved = place(event);
    }
  });
  for (const end of ["pointerup", "pointercancel"]) sheet.addEventListener(end, event => { fingers.delete(event.pointerId); moved = null; });
  sheet.addEventListener("wheel", event => {
    if (!event.ctrlKey && document.activeElement !== sheet) return;  // else the page scrolls
    event.preventDefault();
    const here = place(event);
    zoom(Math.exp(event.deltaY * 0.0015), here.x, here.y);
  }, {passive: false});
  sheet.addEventListener("dblclick", event => { const here = place(event); zoom(0.5, here.x, here.y); });
  sheet.addEventListener("keydown", event => {
    const step = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[event.key];
    if (step) show({...view, x: view.x + step[0] * view.w / 8, y: view.y + step[1] * view.h / 8});
    else if (event.key === "+" || event.key === "=") zoom(0.7);
    else if (event.key === "-") zoom(1 / 0.7);
    else if (event.key === "0") show(whole);
    else return;
    event.preventDefault();
  });
  const buttons = {in: () => zoom(0.6), out: () => zoom(1 / 0.6), all: () => show(whole)};
  for (const button of document.querySelectorAll(".zoom button")) button.addEventListener("click", buttons[button.dataset.do]);
  for (const button of document.querySelectorAll("ol.walk button")) button.addEventListener("click", () => {
    const pin = sheet.querySelector(`.pin[data-number="${button.dataset.number}"]`), w = data.width / 6, h = data.height / 6;
    show({x: pin.dataset.x - w / 2, y: pin.dataset.y - h / 2, w, h});
    stage.scrollIntoView({block: "center"});
  });
  const slider = find("#opacity");
  slider.addEventListener("input", () => sheet.querySelector(".classes").setAttribute("opacity", slider.value / 100));
  addEventListener("resize", fit);
  addEventListener("beforeprint", () => {
    show(whole);
    for (const pin of sheet.querySelectorAll(".pin"))
      pin.setAttribute("transform", `translate(${pin.dataset.x} ${pin.dataset.y}) scale(${pin.dataset.size})`);
  });
  addEventListener("afterprint", fit);
  fit();
})();
