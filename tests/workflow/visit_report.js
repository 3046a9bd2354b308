// Visits Snakemake's report as a reader does: opens every category of the menu and, for each
// of its results, the view (the eye) and the description (the i). What a reader sees is left
// as JSON in the page: of the first view {text, images, results, graph, title}, where results and
// graph are how far from the top they stand, and results {category: {label: {source, width, text,
// description}}}.
(async () => {
  const pause = () => new Promise((resolve) => setTimeout(resolve, 20));
  const all = (selector) => [...document.querySelectorAll(selector)];

  async function until(ready) {
    for (let turn = 0; turn < 250 && !ready(); turn += 1) await pause();
    return ready();
  }

  async function press(find) {
    const link = await until(find);
    if (!link) throw new Error(`no such link: ${find}`);
    link.click();
    await pause();
  }

  async function view(link) {
    if (link.getAttribute("href") !== "#") return { source: link.getAttribute("href") };
    await press(() => link);
    const frame = await until(() => all("#app .grow > div > img, #app .grow > iframe")[0]);
    const source = frame.getAttribute("src");
    if (frame.tagName === "IMG") {
      await until(() => frame.complete);
      return { source, width: frame.naturalWidth };
    }
    const text = () => frame.contentDocument?.body?.innerText;
    if (source.endsWith(".html")) await until(text);
    return { source, text: text() };
  }

  const home = () => document.querySelector("#app nav ol a");
  const item = (name) => all("#app li > a").find((link) => link.innerText.trim() === name);
  const rows = () => all("#app tbody tr").filter((row) => row.querySelectorAll("a").length === 2);

  async function opened() {
    const results = await until(() => document.querySelector("#app .study"));
    const graph = await until(() => document.querySelector("#rulegraph svg, #rulegraph canvas"));
    const images = [...results.querySelectorAll("img")];
    await until(() => images.every((image) => image.complete));
    return {
      text: results.innerText,
      images: Object.fromEntries(images.map((image) => [image.alt, image.naturalWidth])),
      results: results.getBoundingClientRect().top,
      graph: graph.getBoundingClientRect().top,
    };
  }

  const seen = {};
  const notes = { results: seen };
  try {
    await until(() => item("About"));
    notes.first = await opened();
    const names = all("#app li > a > span").map((span) => span.innerText.trim());
    for (const name of names.slice(names.indexOf("About") + 1)) {
      seen[name] = {};
      await press(home);
      await press(() => item(name));
      for (let row = 0; row < rows().length; row += 1) {
        const label = rows()[row].querySelector("td").innerText.trim();
        const [eye, information] = rows()[row].querySelectorAll("a");
        const shown = await view(eye);
        await press(() => information);
        const about = document.querySelector("#app nav nav ~ div").innerText;
        const description = about.match(/DESCRIPTION\s+([^]*?)\s+SIZE/)?.[1] ?? "";
        seen[name][label] = { ...shown, description };
        await press(() => item(name));
      }
    }
  } catch (error) {
    notes.error = String(error);
  }
  notes.first = { ...notes.first, title: document.title };
  const note = document.createElement("script");
  note.type = "application/json";
  note.id = "seen";
  note.textContent = JSON.stringify(notes).replaceAll("<", "\\u003c");
  document.body.append(note);
})();
