// Airflow shows this page in a frame that may not navigate the window around it. A link in Airflow's own document may:
// links into Airflow are followed by one that is put there for a moment.

export function leaveFrame() {
  if (window.parent === window) return;
  document.addEventListener('click', (event) => {
    const link = event.target.closest('a[data-into-airflow]');
    if (!link || event.defaultPrevented) return;
    event.preventDefault();
    open(link.href, event.ctrlKey || event.metaKey);
  });
}

function open(address, inNewTab) {
  const outside = window.parent.document.createElement('a');
  outside.href = address;
  if (inNewTab) outside.target = '_blank';
  window.parent.document.body.append(outside);
  outside.click();
  outside.remove();
}
