// The buttons: each asks Airflow's own REST API, with the login and the rights of who presses it, and shows the answer.
import { fillForm, readForm } from './order_form.js';

const airflow = document.body.dataset.airflow;

export function takeOrders() {
  const dialog = document.getElementById('order');
  if (!dialog) return;
  for (const link of document.querySelectorAll('a[data-order]')) {
    const button = document.createElement('button');
    button.type = 'button';
    button.className = link.className;
    button.append(...link.childNodes);
    button.addEventListener('click', () => openOrder(dialog, JSON.parse(link.dataset.order)));
    link.replaceWith(button);
  }
  dialog.querySelector('#order-close').addEventListener('click', () => dialog.close());
}

async function openOrder(dialog, order) {
  const part = (name) => dialog.querySelector(`#order-${name}`);
  part('title').textContent = order.title;
  part('text').textContent = order.text;
  part('note').hidden = true;
  part('answer').replaceChildren();
  part('fields').replaceChildren();
  part('close').textContent = 'Cancel';
  part('submit').textContent = order.submit;
  part('submit').hidden = false;
  part('submit').disabled = true;
  dialog.querySelector('form').onsubmit = (event) => {
    event.preventDefault();
    submit(dialog, order, part);
  };
  dialog.showModal();
  part('close').focus();
  const dag = await ask('GET', `dags/${encodeURIComponent(order.dag)}/details`);
  if (!dag.ok) {
    part('answer').textContent = inWords(dag, order);
    return;
  }
  if (dag.body.is_paused) {
    part('note').textContent = `${order.dag} is paused in Airflow: the run waits until somebody unpauses it.`;
    part('note').hidden = false;
  }
  fillForm(part('fields'), dag.body.params, order.fields.split(',').filter(Boolean));
  part('submit').disabled = false;
  (part('fields').querySelector('input, select, textarea') ?? part('submit')).focus();
}

async function submit(dialog, order, part) {
  part('submit').disabled = true;
  part('answer').textContent = 'Asking Airflow …';
  const answer = await send(order, readForm(part('fields')));
  if (!answer.ok) {
    part('submit').disabled = false;
    part('answer').textContent = inWords(answer, order);
    return;
  }
  part('answer').replaceChildren(...(order.range ? backfillAnswer(order) : runAnswer(order, answer.body)));
  part('submit').hidden = true;
  part('close').textContent = 'Close';
  part('close').focus();
  document.dispatchEvent(new Event('ordered'));
}

export function send(order, filledIn) {
  if (order.range) {
    const [from_date, to_date] = order.range;
    const rest = { reprocess_behavior: 'completed', max_active_runs: 1 };
    return ask('POST', 'backfills', { dag_id: order.dag, from_date, to_date, ...rest });
  }
  const conf = { ...order.values, ...filledIn };
  return ask('POST', `dags/${encodeURIComponent(order.dag)}/dagRuns`, { logical_date: null, conf });
}

async function ask(method, path, body) {
  try {
    const answer = await fetch(`${airflow}/api/v2/${path}`, {
      method,
      headers: { Accept: 'application/json', ...(body && { 'Content-Type': 'application/json' }) },
      body: body && JSON.stringify(body),
    });
    return { ok: answer.ok, status: answer.status, body: await answer.json().catch(() => ({})) };
  } catch {
    return { ok: false, status: 0, body: {} };
  }
}

function runAnswer(order, run) {
  const waits = order.dag.startsWith('restore_backup') ? ' It is checked first; then somebody has to approve it there.' : '';
  return [
    'Airflow has it: ',
    link(`dags/${order.dag}/runs/${encodeURIComponent(run.dag_run_id)}`, run.dag_run_id),
    `.${waits}`,
  ];
}

function backfillAnswer(order) {
  return ['Airflow has it: ', link(`dags/${order.dag}/backfills`, 'its backfills'), '.'];
}

function link(path, text) {
  const made = document.createElement('a');
  made.href = `${airflow}/${path}`;
  made.dataset.intoAirflow = '';
  made.textContent = text;
  return made;
}

export function inWords({ status, body }, order) {
  const said = detail(body);
  const words = {
    0: 'Airflow did not answer. Is the network up? Try again.',
    401: 'Your login has ended. Load the page again and log in.',
    403: `Airflow refused: you may not start runs of ${order.dag}. An administrator of Airflow can grant that right.`,
    404: `Airflow does not have the DAG ${order.dag}: look at Airflow's import errors.`,
    409: `Airflow has one already, and lets it end first: ${said}`,
  }[status];
  return words ?? `Airflow refused (${status}): ${said || 'it gave no reason; its log has one.'}`;
}

function detail(body) {
  if (Array.isArray(body.detail)) return body.detail.map((one) => one.msg ?? JSON.stringify(one)).join('; ');
  return typeof body.detail === 'string' ? body.detail : JSON.stringify(body.detail ?? '').replaceAll('"', '');
}
