// A form of some of a DAG's params, as Airflow's own has them: their titles, descriptions, defaults and choices.

export function fillForm(place, params, names) {
  for (const name of names.filter((known) => known in params)) {
    const { value, schema, description } = params[name];
    const field = control(value, schema);
    field.id = `field-${name}`;
    field.name = name;
    field.dataset.type = typeof value === 'boolean' ? 'boolean' : Array.isArray(value) ? 'lines' : 'text';
    if (schema.minLength > 0) field.required = true;
    const label = document.createElement('label');
    label.htmlFor = field.id;
    label.textContent = schema.title ?? name;
    const row = document.createElement('div');
    row.className = `field ${field.dataset.type}`;
    row.append(label, field);
    const words = description ?? schema.description;
    if (words) {
      const hint = document.createElement('p');
      hint.id = `hint-${name}`;
      hint.className = 'quiet';
      hint.textContent = words;
      field.setAttribute('aria-describedby', hint.id);
      row.append(hint);
    }
    place.append(row);
  }
}

function control(value, schema) {
  if (schema.enum) {
    const select = document.createElement('select');
    select.append(...schema.enum.map((choice) => new Option(choice, choice, false, choice === value)));
    return select;
  }
  const field = document.createElement(Array.isArray(value) ? 'textarea' : 'input');
  if (typeof value === 'boolean') {
    field.type = 'checkbox';
    field.checked = value;
  } else {
    field.value = Array.isArray(value) ? value.join('\n') : (value ?? '');
    if (schema.maxLength) field.maxLength = schema.maxLength;
    field.autocomplete = 'off';
    field.spellcheck = false;
  }
  return field;
}

export function readForm(place) {
  const read = {
    boolean: (field) => field.checked,
    lines: (field) => field.value.split('\n').map((line) => line.trim()).filter(Boolean),
    text: (field) => field.value,
  };
  const fields = [...place.querySelectorAll('[data-type]')];
  return Object.fromEntries(fields.map((field) => [field.name, read[field.dataset.type](field)]));
}
