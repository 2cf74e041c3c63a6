// On the site of an organizer: <div data-starlight="EVENT"></div> becomes the tickets of an event, as high as they are.
(() => {
  const shop = new URL(document.currentScript.src).origin;
  const frames = [];
  const fill = () => {
    for (const place of document.querySelectorAll("[data-starlight]:empty")) {
      const frame = document.createElement("iframe");
      frame.src = `${shop}/embed/${encodeURIComponent(place.dataset.starlight)}`;
      frame.title = place.dataset.title || "Tickets";
      frame.loading = "lazy";
      frame.style.cssText = "width: 100%; min-height: 20rem; border: 0; color-scheme: normal;";
      place.append(frame);
      frames.push(frame);
    }
  };
  addEventListener("message", (e) => {
    const frame = frames.find((f) => f.contentWindow === e.source);
    if (e.origin === shop && frame && Number.isFinite(e.data?.height)) frame.style.height = `${e.data.height}px`;
  });
  if (document.readyState === "loading") addEventListener("DOMContentLoaded", fill);
  else fill();
})();
