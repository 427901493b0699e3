const EVERY_MS = 1000;

const body = document.querySelector('tbody');
const state = document.querySelector('#state');
const [, ...columns] = [...document.querySelectorAll('thead th')].map((head) => head.textContent);

const count = new Intl.NumberFormat('en');
const delay = new Intl.NumberFormat('en', { maximumFractionDigits: 1, minimumFractionDigits: 1 });

function rowOf({ number, pid, requests, cacheHits, lookUps, revocations, lastDelayMs }) {
  const row = document.createElement('tr');
  const head = document.createElement('th');
  head.scope = 'row';
  const small = document.createElement('small');
  small.textContent = `pid ${pid}`;
  head.append(`${number} `, small);
  const cells = [requests, cacheHits, lookUps, revocations].map((figure) => count.format(figure));
  cells.push(lastDelayMs === null ? '–' : `${delay.format(lastDelayMs)} ms`);
  row.append(
    head,
    ...cells.map((text, index) => {
      const cell = document.createElement('td');
      cell.textContent = text;
      // The label of the figure on narrow screens, which have no heading row.
      cell.dataset.column = columns[index];
      return cell;
    }),
  );
  return row;
}

/** Sets the text only if it changed, so that a screen reader reads it only once. */
function setState(text) {
  if (state.textContent !== text) state.textContent = text;
}

async function refresh() {
  try {
    const response = await fetch('status.json', { signal: AbortSignal.timeout(5000) });
    const { processes } = await response.json();
    body.replaceChildren(...processes.map(rowOf));
    setState('Up to date.');
  } catch {
    setState('The server does not answer. These are the last figures.');
  }
  setTimeout(refresh, EVERY_MS);
}

await refresh();
