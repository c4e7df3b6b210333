// Looks at the runs in progress every few seconds, now and then while there are none, and never in a hidden tab.

const BUSY_SECONDS = 3;
const IDLE_SECONDS = 60;

export function followRuns() {
  const section = document.getElementById('running');
  if (!section) return;
  let timer = null;
  let wasBusy = isBusy(section);

  const wait = () => {
    clearTimeout(timer);
    if (document.hidden) return;
    timer = setTimeout(look, 1000 * (isBusy(section) ? BUSY_SECONDS : IDLE_SECONDS));
  };

  const look = async () => {
    clearTimeout(timer);
    try {
      const answer = await fetch(section.dataset.refresh, { headers: { Accept: 'application/json, text/html;q=0.5' } });
      const fresh = answer.ok && !answer.redirected ? await answer.text() : null;
      if (fresh !== null) show(fresh);
    } catch {
      // the server is away for a moment: the next look may find it
    }
    wait();
  };

  const show = (fresh) => {
    const focused = section.contains(document.activeElement) ? document.activeElement.href : null;
    section.innerHTML = fresh;
    if (focused) [...section.querySelectorAll('a')].find((link) => link.href === focused)?.focus();
    const busy = isBusy(section);
    if (wasBusy && !busy) tellEnd();
    wasBusy = busy;
  };

  document.addEventListener('visibilitychange', () => (document.hidden ? clearTimeout(timer) : look()));
  document.addEventListener('ordered', look);
  wait();
}

function isBusy(section) {
  return section.querySelector('[data-busy]')?.dataset.busy === 'yes';
}

function tellEnd() {
  const again = document.createElement('a');
  again.href = location.pathname + location.search;
  again.textContent = 'Load the page again';
  document.getElementById('ended').replaceChildren('The run has ended. ', again, ' to see what came of it.');
}
