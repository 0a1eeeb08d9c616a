// Watches by path and by session.

import { ask } from './ask.js';
import { build, count, fill, isNew, pathLink, plural, sessionLink, table, tag } from './build.js';
import { attempt } from './report.js';
import { moreButton } from './sessions.js';

export function watchesView(main, [by = 'path']) {
  const body = build('div', {});
  let pages = 1;
  let wanted = '';
  const segments = build('nav', { class: 'segments', 'aria-label': 'Order' },
    [['path', 'By path'], ['session', 'By session']].map(([name, title]) =>
      build('a', { href: `#/watches/${name}`, 'aria-current': name === by ? 'true' : null }, title)));
  const search = build('input', {
    type: 'search', placeholder: 'Part of a path', 'aria-label': 'Part of a path',
    oninput: (event) => attempt(() => { wanted = event.target.value; pages = 1; return update(); }),
  });
  fill(main, build('div', { class: 'title' }, build('h1', {}, 'Watches'), segments, by === 'path' && search), body);
  const last = (entry) => entry && (entry.path ?? entry.session);
  async function update() {
    const asked = wanted;
    let found = null;
    let entries = [];
    for (let page = 0; page < pages; page += 1) {
      found = await ask('watches', { by, find: asked, after: last(entries.at(-1)) });
      entries = entries.concat(found.paths ?? found.sessions);
      if (found.more === 0) break;
    }
    if (asked !== wanted || !isNew(body, [entries, found.watches, found.more])) return;
    const others = (entry, shown) => entry.count > shown && build('span', { class: 'quiet' }, ` and ${count(entry.count - shown)} more`);
    fill(body,
      build('p', { class: 'quiet' }, `${plural(found.watches, 'watch', 'watches')} at ${plural(found.watched_paths, 'path')} by ${plural(found.watching_connections, 'connection')} of this server.`),
      by === 'path'
        ? table('Watches by path', [['Path'], ['Watchers', 'number'], ['Sessions']], entries.map((entry) => [
          pathLink(entry.path), count(entry.count),
          [build('ul', { class: 'inline' }, entry.watchers.map((watcher) => build('li', {}, sessionLink(watcher.session), ' ',
            watcher.kinds.map((kind) => [tag(kind), ' '])))), others(entry, entry.watchers.length)],
        ]), wanted ? 'Nobody watches such a path.' : 'Nobody watches anything at this server.')
        : table('Watches by session', [['Session'], ['Paths', 'number'], ['Which']], entries.map((entry) => [
          sessionLink(entry.session), count(entry.count),
          [build('ul', { class: 'inline' }, entry.paths.map((path) => build('li', {}, pathLink(path)))), others(entry, entry.paths.length)],
        ]), 'Nobody watches anything at this server.'),
      moreButton(found.more, () => attempt(() => { pages += 1; return update(); })));
  }
  return update;
}
