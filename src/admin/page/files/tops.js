// The largest paths and the busiest clients.

import { ask } from './ask.js';
import { build, bytes, card, count, fill, isNew, micros, pathLink, plural, sessionLink, table } from './build.js';

const ORDERS = [['requests', 'Requests'], ['queued', 'Waiting'], ['average', 'Average latency'], ['max', 'Worst latency'], ['outbox', 'Unsent bytes']];
// A walk over the tree is not made more often.
const WALK_MS = 15000;
const WALK_PATIENCE_MS = 180000;
const QUICK_MS = 500;

function bar(share) {
  const inner = build('span', { class: 'fill' });
  inner.style.width = `${Math.min(100, Math.max(1, share * 100)).toFixed(1)}%`;
  return build('span', { class: 'bar', 'aria-hidden': 'true' }, inner);
}

function ranking(entries, label, empty) {
  if (entries.length === 0) return build('p', { class: 'quiet' }, empty);
  const most = Math.max(...entries.map((entry) => entry.value));
  return build('ol', { class: 'ranking' }, entries.map((entry) => build('li', {},
    build('span', { class: 'row' }, pathLink(entry.path), build('span', { class: 'value' }, label(entry))),
    bar(entry.value / most))));
}

function quota(entry) {
  const limit = (used, soft, hard, shown) => {
    const limits = [soft !== null && `of ${shown(soft)}`, hard !== null && `of ${shown(hard)} (hard)`].filter(Boolean);
    return limits.length > 0 ? `${shown(used)} ${limits.join(', ')}` : null;
  };
  return build('li', { class: entry.used_thousandths > 1000 ? 'over' : null }, build('span', { class: 'row' }, pathLink(entry.path || '/'),
    build('span', { class: 'value' }, `${(entry.used_thousandths / 10).toFixed(0)} %`)),
  bar(entry.used_thousandths / 1000),
  build('span', { class: 'quiet' }, [limit(entry.count, entry.count_limit, entry.count_hard_limit, (n) => `${count(n)} znodes`),
    limit(entry.bytes, entry.bytes_limit, entry.bytes_hard_limit, bytes)].filter(Boolean).join(' · ')));
}

export function topView(main, [order = 'requests']) {
  const clients = build('div', {});
  const paths = build('div', {});
  let walked = -Infinity;
  const segments = build('nav', { class: 'segments', 'aria-label': 'Order of clients' }, ORDERS.map(([name, title]) =>
    build('a', { href: `#/top/${name}`, 'aria-current': name === order ? 'true' : null }, title)));
  fill(main, build('h1', {}, 'Top'), card('Clients of this server', segments, clients), paths);
  const updatePaths = async () => {
    const found = await ask('top/paths', {}, WALK_PATIENCE_MS);
    if (!isNew(paths, { ...found, age_ms: 0 })) return;
    fill(paths,
      build('p', { class: 'quiet' }, `${plural(found.looked_at, 'znode was', 'znodes were')} looked at`,
        found.is_cut ? ', not all: there are too many, or they went while they were looked at. The figures are the least that there is.' : '.',
        found.hidden > 0 && ` ${plural(found.hidden, 'znode')} with children may not be read by you.`),
      build('div', { class: 'columns' },
        card('Subtrees', ranking(found.subtrees.map((entry) => ({ ...entry, value: entry.znodes })),
          (entry) => `${entry.is_cut ? 'at least ' : ''}${plural(entry.znodes, 'znode')}, ${bytes(entry.bytes)}`, 'The tree is empty.')),
        card('Most children', ranking(found.children, (entry) => count(entry.value), 'No znode has children.')),
        card('Most data', ranking(found.bytes, (entry) => bytes(entry.value), 'No znode has data.')),
        card('Most watchers', ranking(found.watches, (entry) => count(entry.value), 'Nobody watches anything at this server.')),
        card('Quotas', found.quotas.length > 0 ? build('ol', { class: 'ranking' }, found.quotas.map(quota))
          : build('p', { class: 'quiet' }, 'No path has a quota.'))));
  };
  // Requests of each client at the last look.
  let before = new Map();
  const updateClients = async () => {
    const found = await ask('top/clients', { order });
    const now = performance.now();
    const rates = found.clients.map((client) => {
      const last = before.get(`${client.address} ${client.established_ms}`);
      return last ? `${count((client.requests - last.requests) * 1000 / (now - last.at))}/s` : '–';
    });
    before = new Map(found.clients.map((client) => [`${client.address} ${client.established_ms}`, { requests: client.requests, at: now }]));
    if (!isNew(clients, [found, rates])) return;
    fill(clients, table('Clients', [['Client'], ['Session'], ['Requests', 'number'], ['Per second', 'number'], ['Waiting', 'number'], ['Unsent', 'number'], ['Average', 'number'], ['Worst', 'number'], ['Last']],
      found.clients.map((client, at) => [build('span', { class: 'mono' }, client.address), client.session ? sessionLink(client.session) : '–',
        count(client.requests), rates[at], count(client.queued), bytes(client.outbox_bytes), micros(client.average_us), micros(client.max_us), client.last_operation]),
      'Nobody is connected.'),
    found.more > 0 && build('p', { class: 'quiet' }, `${count(found.more)} more`));
  };
  // A walk over many znodes takes longer than the time between two looks at the clients.
  let isWalking = false;
  const walk = async () => {
    isWalking = true;
    try {
      await updatePaths();
    } finally {
      isWalking = false;
      walked = performance.now();
    }
  };
  fill(paths, build('p', { class: 'quiet' }, 'Looking at all znodes …'));
  return async () => {
    const failed = isWalking || performance.now() - walked < WALK_MS ? null : walk().catch((error) => error);
    await updateClients();
    // What is quick, and what fails at once, is awaited.
    const error = await Promise.race([failed, new Promise((resolve) => { setTimeout(resolve, QUICK_MS); })]);
    if (error) throw error;
  };
}
