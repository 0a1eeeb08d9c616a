// The ensemble and this server at a glance.

import { ask } from './ask.js';
import { Spark, build, bytes, card, count, facts, fill, hasSelection, isNew, micros, millis, plural, span, table, tag, time } from './build.js';

// Kept between visits of the view, so that the lines go on.
const requests = new Spark('Requests a second since the page was opened');
const latency = new Spark('Average latency over time since the page was opened');
let before = null;

// Requests a second and their average latency since the last look; null without a look before this one.
export function rates({ server }) {
  const now = { received: server.received, at: server.uptime_ms, count: server.latency_count, sum: server.latency_sum_us };
  // After a reset or a restart there is nothing to compare with.
  const isSame = before && now.received >= before.received && now.count >= before.count && now.at > before.at;
  const seconds = isSame ? (now.at - before.at) / 1000 : 0;
  const answered = isSame ? now.count - before.count : 0;
  const found = {
    requests: isSame ? (now.received - before.received) / seconds : null,
    latency_us: answered > 0 ? (now.sum - before.sum) / answered : null,
  };
  before = now;
  if (found.requests !== null) {
    requests.add(found.requests);
    latency.add(found.latency_us ?? 0);
  }
  return found;
}

const LEVELS = { ok: ['✓', 'Fine'], warn: ['!', 'Warning'], bad: ['✕', 'Bad'] };

function healthList(health) {
  return build('ul', { class: 'health', 'aria-label': 'Health' }, health.map(({ level, text }) => {
    const [sign, name] = LEVELS[level] ?? LEVELS.warn;
    return build('li', { class: level },
      build('span', { class: 'sign', 'aria-hidden': 'true' }, sign),
      build('span', { class: 'hidden' }, `${name}: `), text);
  }));
}

function tile(title, value, note, spark) {
  return build('div', { class: 'tile' }, build('span', { class: 'name' }, title),
    build('span', { class: 'value' }, value), build('span', { class: 'quiet note' }, note ?? ' '), spark);
}

function members({ members: all, leader, last_leader: last, server }) {
  const isLeader = leader === server.id;
  const role = (member) => {
    if (member.is_silent) return tag('silent', 'warn');
    return leader === null && member.id === last && !member.is_self ? tag('last leader', 'warn') : tag(member.role, member.role);
  };
  const rows = all.map((member) => [
    [build('strong', {}, `server.${member.id}`), member.is_self ? [' ', tag('this one', 'self')] : null],
    [role(member), member.votes || member.role === 'observer' ? null : [' ', tag('no vote yet', 'warn')]],
    build('span', { class: 'mono' }, member.address ?? '–'),
    build('span', { class: 'mono' }, member.client_address ?? '–'),
    member.is_self ? 'now' : member.heard_ago_ms === null ? (isLeader ? 'never' : '–') : `${span(member.heard_ago_ms)} ago`,
    member.behind === null ? '–' : member.behind === 0 ? 'none' : plural(member.behind, 'entry', 'entries'),
  ]);
  const note = isLeader ? null : leader === null
    ? build('p', { class: 'quiet' }, `No leader is known${last === null || last === server.id ? '' : ` (last leader: ${last})`}: how the others are, this server cannot tell.`)
    : build('p', { class: 'quiet' }, `How the others are, only their leader knows: see the page of server ${leader}.`);
  return card('Members', table('Members of the ensemble',
    [['Server'], ['Role'], ['Address'], ['Clients'], ['Heard', 'number'], ['Lag', 'number']], rows, 'None.'), note);
}

export function overviewView(main) {
  const health = build('div', {});
  const tiles = build('div', { class: 'tiles' });
  const ensemble = build('div', {});
  const rest = build('div', { class: 'columns' });
  fill(main, build('h1', { class: 'hidden' }, 'Overview'), health, tiles, ensemble, rest);
  return async (given) => {
    const found = given ?? await ask('overview');
    const { server, log } = found;
    if (isNew(health, found.health)) fill(health, healthList(found.health));
    const tree = server.tree;
    // What has changed waits while somebody copies the rest.
    if (!hasSelection(tiles)) fill(tiles,
      tile('Requests', found.rate.requests === null ? '…' : `${count(found.rate.requests)}/s`, `${count(server.received)} received`, requests.element),
      tile('Latency', micros(found.rate.latency_us), `${micros(server.latency_average_us)} on average, at most ${micros(server.latency_max_us)}`, latency.element),
      tile('Connections', count(server.connections), plural(server.sessions, 'session')),
      tile('Outstanding', count(server.outstanding), 'requests without an answer'),
      tile('Znodes', count(tree.znodes), plural(tree.ephemerals, 'ephemeral')),
      tile('Data', bytes(tree.data_bytes), `and ${bytes(tree.path_bytes)} of paths`),
      tile('Watches', count(server.watches), `at ${plural(server.watched_paths, 'path')}`),
      tile('Zxid', server.zxid, `epoch ${server.epoch}`));
    if (isNew(ensemble, [found.members, found.leader])) {
      fill(ensemble, found.is_ensemble ? members(found) : null);
    }
    if (!hasSelection(rest)) fill(rest,
      card('This server', facts([
        ['Role', server.role ?? 'not serving'],
        ['Serves', server.serves],
        ['Version', server.version],
        ['Up for', span(server.uptime_ms)],
        ['Started', time(server.started_ms)],
        ['Sessions expired', count(server.sessions_expired)],
        ['Local sessions', server.local_sessions > 0 ? count(server.local_sessions) : null],
        ['File descriptors', `${count(server.open_files)} of ${count(server.max_files)}`],
        ['Tick', span(server.tick_ms)],
      ])),
      card('Log and disk', facts([
        ['Log index', count(log.last_index)],
        ['Applied', log.last_index === log.applied_index ? 'all of it' : `${count(log.applied_index)}, ${plural(log.last_index - log.applied_index, 'entry', 'entries')} to go`],
        ['Term', found.is_ensemble ? count(found.term) : null],
        ['Last snapshot', log.snapshot_zxid === null ? 'none yet' : ['at ', build('span', { class: 'mono' }, log.snapshot_zxid)]],
        ['Made', log.snapshot_made_ms === null ? null : time(log.snapshot_made_ms)],
        ['Log since then', bytes(log.bytes_since_snapshot)],
        ['Data directory', bytes(server.data_dir_bytes)],
        ['Log directory', server.log_dir_bytes === null ? 'the data directory' : bytes(server.log_dir_bytes)],
      ])),
      card('Latencies', table('Latencies of the last minutes', [['What'], ['Median', 'number'], ['99 %', 'number'], ['Most', 'number']],
        found.latencies.map((one) => [one.title, millis(one.median_ms), millis(one.p99_ms), millis(one.max_ms)]),
        'Nothing was measured yet.')));
  };
}
