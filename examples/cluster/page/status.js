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
      // Said beside the figure where there is no room for a row of headings.
      cell.dataset.column = columns[index];
      return cell;
    }),
  );
  return row;
}

/** A screen reader says it once: it is written where it changed. */
function say(text) {
  if (state.textContent !== text) state.textContent = text;
}

async function refresh() {
  try {
    const answer = await fetch('status.json', { signal: AbortSignal.timeout(5000) });
    const { processes } = await answer.json();
    body.replaceChildren(...processes.map(rowOf));
    say('Up to date.');
  } catch {
    say('The server does not answer. These are the last figures.');
  }
  setTimeout(refresh, EVERY_MS);
}

await refresh();
