// Sessions, and one session with what it holds.

import { ask } from './ask.js';
import { build, card, count, facts, fill, isNew, micros, pathLink, plural, sessionLink, span, table, tag, time } from './build.js';
import { attempt } from './report.js';

const FILTERS = [['all', 'All'], ['here', 'Connected here'], ['holders', 'With ephemerals']];

// "N more", and a button for the next ones.
export function moreButton(more, onclick) {
  return more > 0 && build('p', { class: 'more' },
    build('button', { type: 'button', 'data-key': 'more', onclick }, `${plural(more, 'more', 'more')} …`));
}

const heard = (session) => (session.heard_ago_ms === null ? 'not known here' : `${span(session.heard_ago_ms)} ago`);

export function sessionsView(main, [filter = 'all']) {
  const body = build('div', {});
  let pages = 1;
  const segments = build('nav', { class: 'segments', 'aria-label': 'Which sessions' }, FILTERS.map(([name, title]) =>
    build('a', { href: `#/sessions/${name}`, 'aria-current': name === filter ? 'true' : null }, title)));
  fill(main, build('div', { class: 'title' }, build('h1', {}, 'Sessions'), segments), body);
  const update = async () => {
    let found = null;
    let rows = [];
    for (let page = 0; page < pages; page += 1) {
      found = await ask('sessions', { only: filter, after: rows.at(-1)?.id });
      rows = rows.concat(found.sessions);
      if (found.more === 0) break;
    }
    if (!isNew(body, [rows, found.more])) return;
    fill(body,
      build('p', { class: 'quiet' }, `${plural(found.total, 'session')}, ${count(found.connected)} connected to this server.`),
      table('Sessions', [['Session'], ['Client'], ['Time-out', 'number'], ['Last seen', 'number'], ['Ephemerals', 'number'], ['Watched paths', 'number'], ['Requests', 'number']],
        rows.map((session) => [
          [sessionLink(session.id), session.is_local ? [' ', tag('local')] : null],
          session.connection ? build('span', { class: 'mono' }, session.connection.address) : build('span', { class: 'quiet' }, `not connected here, began at server ${session.server}`),
          span(session.timeout_ms), heard(session), count(session.ephemerals),
          session.connection ? count(session.connection.watched_paths) : '–',
          session.connection ? count(session.connection.requests) : '–',
        ]), 'No session.'),
      moreButton(found.more, () => attempt(() => { pages += 1; return update(); })));
  };
  return update;
}

export function sessionView(main, [id]) {
  const body = build('div', {});
  fill(main, build('nav', { class: 'crumbs', 'aria-label': 'Path' }, build('a', { href: '#/sessions' }, 'Sessions')),
    build('h1', { class: 'mono' }, id), body);
  return async () => {
    const session = await ask('session', { id });
    const connection = session.connection;
    if (!isNew(body, session)) return;
    fill(body, build('div', { class: 'columns' },
      card('Session', facts([
        ['Created by', `server ${session.server}`],
        ['Known to', session.is_local ? 'this server only' : 'the ensemble'],
        ['Time-out', span(session.timeout_ms)],
        ['Last seen', heard(session)],
      ])),
      card('Connection', connection ? facts([
        ['Client', build('span', { class: 'mono' }, connection.address)],
        ['Since', time(connection.established_ms)],
        ['Requests', count(connection.requests)],
        ['Answers', count(connection.sent)],
        ['Waiting', plural(connection.queued, 'request')],
        ['Last operation', connection.last_operation],
        ['Latency', `${micros(connection.average_us)} on average, at most ${micros(connection.max_us)}`],
      ]) : build('p', { class: 'quiet' }, `Not to this server; it began at server ${session.server}.`))),
    card(`Ephemerals (${count(session.ephemerals)})`,
      build('ul', { class: 'list' }, session.ephemeral_paths.map((path) => build('li', {}, pathLink(path)))),
      session.ephemerals === 0 && build('p', { class: 'quiet' }, 'None.'),
      session.more_ephemerals > 0 && build('p', { class: 'quiet' }, `${count(session.more_ephemerals)} more`)),
    card('Watches', table('Watches', [['Path'], ['Kinds']],
      session.watches.map((watch) => [pathLink(watch.path), watch.kinds.map((kind) => [tag(kind), ' '])]),
      connection ? 'None.' : 'The server that it is connected to knows them.'),
    session.more_watches > 0 && build('p', { class: 'quiet' }, `${count(session.more_watches)} more`)));
  };
}
