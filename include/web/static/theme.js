// The light or dark that somebody has chosen in Airflow, which keeps it in this origin's storage; otherwise the system's.
(() => {
  const follow = () => {
    let choice = null;
    try {
      choice = localStorage.getItem('theme');
    } catch {
      // a browser that gives no storage has no choice in it
    }
    if (choice === 'light' || choice === 'dark') document.documentElement.dataset.theme = choice;
    else delete document.documentElement.dataset.theme;
    document.dispatchEvent(new Event('themechange'));
  };
  follow();
  addEventListener('storage', follow);
})();
