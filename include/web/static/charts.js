// Draws the charts from the data beside them, in the colours of the page, in light and dark and at any width.
/* global uPlot */

const HEIGHT = 170;
const NEAR = 2; // a limit more than so many times the highest value is named above the chart: the values stay readable
const STEPS = {
  s: [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400],
  MB: [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000],
};

export function drawCharts() {
  const drawn = [...document.querySelectorAll('.chart')].map((place) => {
    const data = JSON.parse(document.getElementById(place.id.replace('chart-', 'data-')).textContent);
    return { place, data, plot: draw(place, data) };
  });
  const again = () => {
    for (const chart of drawn) {
      chart.plot.destroy();
      chart.plot = draw(chart.place, chart.data);
    }
  };
  document.addEventListener('themechange', again);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', again);
  new ResizeObserver(() => {
    for (const { place, plot } of drawn) {
      if (plot.width !== place.clientWidth) plot.setSize({ width: place.clientWidth, height: HEIGHT });
    }
  }).observe(document.querySelector('.charts') ?? document.body);
}

function draw(place, data) {
  const colour = (name) => {
    place.style.color = `var(--${name})`;
    return getComputedStyle(place).color;
  };
  const colours = Object.fromEntries(['line', 'quiet', 'grid', 'bad', 'limit'].map((name) => [name, colour(name)]));
  const text = data.unit === 's' ? seconds : megabytes;
  const axis = { stroke: colours.quiet, grid: { stroke: colours.grid, width: 1 }, ticks: { show: false } };
  const odd = data.values.map((value, index) => (data.odd[index] ? value : null));
  const options = {
    width: place.clientWidth,
    height: HEIGHT,
    padding: [20, 12, 0, 0],
    cursor: { y: false, points: { size: 7 } },
    legend: { show: false },
    scales: { y: { range: () => range(data) } },
    axes: [
      { ...axis, size: 26, space: 60, values: (_, ticks) => ticks.map((tick) => date(tick)) },
      { ...axis, size: 58, space: 34, incrs: STEPS[data.unit], values: (_, ticks) => ticks.map(text) },
    ],
    series: [
      {},
      { stroke: colours.line, width: 2, points: { show: true, size: 4, fill: colours.line }, spanGaps: false },
      { stroke: colours.bad, width: 0, paths: () => null, points: { show: true, size: 11, width: 2, fill: 'transparent' } },
    ],
    hooks: { draw: [(plot) => drawLimits(plot, data.limits, text, colours)], setCursor: [tip(place, data, text)] },
  };
  const plot = new uPlot(options, [data.times, data.values, odd], place);
  plot.over.append(Object.assign(document.createElement('div'), { className: 'tip', hidden: true }));
  return plot;
}

function range(data) {
  const values = data.values.filter((value) => value !== null);
  if (!values.length) return [0, 1];
  const highest = Math.max(...values) || 1;
  const near = data.limits.map((limit) => limit.value).filter((value) => value <= highest * NEAR);
  return [0, Math.max(highest, ...near) * 1.15];
}

function drawLimits(plot, limits, text, colours) {
  const { ctx, bbox } = plot;
  const pixels = devicePixelRatio;
  ctx.save();
  ctx.strokeStyle = colours.limit;
  ctx.font = `${11 * pixels}px system-ui, sans-serif`;
  ctx.textAlign = 'right';
  ctx.lineWidth = pixels;
  ctx.setLineDash([5 * pixels, 4 * pixels]);
  for (const { value } of limits.filter((limit) => limit.value <= plot.scales.y.max)) {
    const at = plot.valToPos(value, 'y', true);
    ctx.beginPath();
    ctx.moveTo(bbox.left, at);
    ctx.lineTo(bbox.left + bbox.width, at);
    ctx.stroke();
  }
  // Their names stand above the chart, where no value is.
  const words = limits.map(({ label, value }) => `${value > plot.scales.y.max ? '↑' : '┄'} ${label} ${text(value)}`);
  ctx.fillStyle = colours.limit;
  ctx.fillText(words.join('   '), bbox.left + bbox.width, bbox.top - 6 * pixels);
  ctx.restore();
}

function tip(place, data, text) {
  return (plot) => {
    const box = plot.over.querySelector('.tip');
    const { idx, left } = plot.cursor;
    if (!box) return;
    box.hidden = idx === null || idx === undefined || left < 0 || data.values[idx] === null;
    if (box.hidden) return;
    box.textContent = `${date(data.times[idx])}: ${text(data.values[idx])}${data.odd[idx] ? ', odd' : ''}`;
    box.style.left = `${Math.min(left, plot.over.clientWidth - 130)}px`;
  };
}

function date(seconds) {
  const zone = document.querySelector('[data-zone]').dataset.zone;
  return new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short', timeZone: zone }).format(1000 * seconds);
}

function megabytes(value) {
  return `${value >= 100 ? value.toFixed(0) : value >= 1 ? Number(value.toFixed(1)) : Number(value.toPrecision(2))} MB`;
}

function seconds(value) {
  if (value < 60) return `${Number(value.toFixed(1))} s`;
  const minutes = value / 60;
  return minutes < 60 ? `${Number(minutes.toFixed(1))} min` : `${Number((minutes / 60).toFixed(1))} h`;
}
