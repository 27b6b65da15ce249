// Before anything is drawn, so that a chosen theme does not flash in the other one. A classic script for that reason.
(() => {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  let chosen = null;
  try {
    chosen = localStorage.getItem("theme");
  } catch {
    // no storage for this page: the system's theme it is
  }
  const dark = () => (chosen ? chosen === "dark" : system.matches);

  function show() {
    root.dataset.theme = dark() ? "dark" : "light";
    const button = document.getElementById("theme");
    if (button) button.textContent = dark() ? "Light theme" : "Dark theme";
    dispatchEvent(new Event("themechange"));
  }

  show();
  system.addEventListener("change", show);
  addEventListener("DOMContentLoaded", () => {
    show();
    document.getElementById("theme").addEventListener("click", () => {
      chosen = dark() ? "light" : "dark";
      try {
        localStorage.setItem("theme", chosen);
      } catch {
        // it holds until the page is left
      }
      show();
    });
  });
})();
