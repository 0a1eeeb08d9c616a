// The tree and one znode of it.

import { Refused, ask, change, isNamed, noteNamed, user } from './ask.js';
import { build, bytes, card, count, facts, fill, isNew, sessionLink, shown, span, table, tag, time, treeLink } from './build.js';
import { asText, dataView, decode, isSame } from './data.js';
import { attempt, problem } from './report.js';

// Open znodes whose children are asked for again at each refresh.
const REFRESHED_MAX = 12;
// Children of a znode that are shown at first, and how many each click adds.
const PAGE_LEN = 200;
// Children in one answer.
const ANSWER_MAX = 1000;
// Bytes that a form for text takes.
const EDIT_BYTES_MAX = 100000;

const join = (parent, name) => (parent === '/' ? `/${name}` : `${parent}/${name}`);
const parentOf = (path) => path.slice(0, path.lastIndexOf('/')) || '/';
const nameOf = (path) => (path === '/' ? '/' : path.slice(path.lastIndexOf('/') + 1));
// A name of blanks would be nothing to click on.
const visible = (name) => (name.trim() === '' ? JSON.stringify(name) : shown(name));
const filterTitle = (path) => `Filter the children of ${visible(nameOf(path))}`;
// The root, and everything below it down to a path.
const wayTo = (path) => ['/', ...(path === '/' ? [] : path.slice(1).split('/').map((_, at, parts) => `/${parts.slice(0, at + 1).join('/')}`))];
// Deep levels are indented less, so that their names have room.
const indentation = (level) => (level < 2 ? 0 : 0.7 + Math.min(level - 2, 8) + 0.35 * Math.min(Math.max(level - 10, 0), 40));
const element = (id) => document.getElementById(id);

class Tree {
  constructor(main, path) {
    this.selected = path;
    this.focused = path;
    // Open znodes by path: { children, more, found, total, pages, error, wanted, also }; `also` is the
    // child on the way to the selected znode.
    this.open = new Map();
    this.form = null;
    // Bytes of the selected znode's data: { path, mzxid, octets, more, loading }.
    this.held = null;
    // The way to the selected znode has to be opened.
    this.reveal = true;
    this.isClosed = true;
    this.list = build('ul', { class: 'tree', role: 'tree', 'aria-label': 'Znodes', onkeydown: (event) => attempt(() => this.key(event)) });
    this.detail = build('div', { class: 'detail' });
    this.search = build('input', {
      type: 'search', id: 'find', placeholder: filterTitle(path), 'aria-label': filterTitle(path),
      oninput: () => attempt(() => this.filter(this.selected, this.search.value)),
    });
    fill(main, build('h1', { class: 'hidden' }, 'Tree'), build('div', { class: 'browser' },
      build('div', { class: 'panel' }, this.search, this.list), this.detail));
  }

  // ---- children ----------------------------------------------------------------------------------

  async load(path) {
    const wasOpen = this.open.has(path);
    const entry = this.open.get(path) ?? { pages: 1, wanted: '' };
    const next = this.nextBelow(path);
    let children = [];
    try {
      let found = null;
      do {
        const limit = Math.min(ANSWER_MAX, entry.pages * PAGE_LEN - children.length);
        found = await ask('children', { path, find: entry.wanted, after: children.at(-1)?.name, limit, with: next });
        children = children.concat(found.children);
      } while (found.more > 0 && children.length < entry.pages * PAGE_LEN && found.children.length > 0);
      Object.assign(entry, { children, more: found.more, found: found.found, total: found.total, also: found.with ?? null, error: null });
    } catch (error) {
      if (!(error instanceof Refused) || ![403, 404].includes(error.status)) throw error;
      if (error.status === 404) {
        this.open.delete(path);
        return;
      }
      Object.assign(entry, { children: [], more: 0, found: 0, total: 0, also: null, error: error.message });
    }
    // Whoever has closed it meanwhile wants it closed.
    if (wasOpen && !this.open.has(path)) return;
    this.open.set(path, entry);
  }

  // The name of the child of `path` on the way to the selected znode.
  nextBelow(path) {
    const way = wayTo(this.selected);
    const at = way.indexOf(path);
    return at >= 0 && at + 1 < way.length ? nameOf(way[at + 1]) : null;
  }

  scrollTo(path) {
    const row = this.list.querySelector(`[data-key="${CSS.escape(`row-${path}`)}"]`);
    if (!row) return;
    const [box, at] = [this.list.getBoundingClientRect(), row.getBoundingClientRect()];
    if (at.top < box.top || at.bottom > box.bottom) this.list.scrollTop += at.top - box.top - (box.height - at.height) / 2;
  }

  async expand(path) {
    if (!this.open.has(path)) await this.load(path);
    this.draw();
  }

  collapse(path) {
    if (path !== '/') this.open.delete(path);
    // The way to the selected znode is not opened again.
    this.reveal = false;
    this.draw();
  }

  async filter(path, wanted) {
    if (!this.open.has(path)) await this.load(path);
    const entry = this.open.get(path);
    if (!entry) return;
    entry.wanted = wanted;
    entry.pages = 1;
    if (path === this.selected && this.search.value !== wanted) this.search.value = wanted;
    await this.load(path);
    // An answer to what was typed before may come late.
    if (entry.wanted === wanted) this.draw();
  }

  async more(path) {
    const entry = this.open.get(path);
    entry.pages += 1;
    await this.load(path);
    this.draw();
  }

  // Everything that is to be seen, from top to bottom.
  rows() {
    const rows = [{ path: '/', level: 1, node: null }];
    const below = (path, level) => {
      const entry = this.open.get(path);
      if (!entry) return;
      if (entry.error) rows.push({ note: entry.error, level, path: `${path}//error` });
      if (entry.wanted) {
        const note = `“${entry.wanted}”: ${count(entry.found)} of ${count(entry.total)} – show all`;
        rows.push({ note, clear: path, level, path: `${path}//filter` });
      }
      const add = (node) => {
        const child = join(path, node.name);
        rows.push({ path: child, level, node });
        below(child, level + 1);
      };
      entry.children.forEach(add);
      if (entry.more > 0) rows.push({ more: entry.more, parent: path, level, path: `${path}//more` });
      // One that is further down in the list, or not in it.
      if (entry.also && entry.also.name === this.nextBelow(path)
        && !entry.children.some((node) => node.name === entry.also.name)) add(entry.also);
    };
    below('/', 2);
    return rows;
  }

  draw() {
    const rows = this.rows();
    if (!rows.some((row) => row.path === this.focused)) this.focused = '/';
    const known = rows.map((row) => [row, this.open.has(row.path)]);
    if (!isNew(this.list, [known, this.selected, this.focused])) return;
    fill(this.list, rows.map((row) => {
      const line = this.row(row);
      line.style.marginLeft = `${indentation(row.level)}rem`;
      return line;
    }));
  }

  row(row) {
    const common = {
      role: 'treeitem', 'aria-level': row.level, 'data-key': `row-${row.path}`, 'data-path': row.path,
      tabindex: row.path === this.focused ? '0' : '-1',
    };
    if (row.clear) {
      return build('li', { ...common, class: 'more', onclick: () => attempt(() => this.filter(row.clear, '')) }, row.note);
    }
    if (row.note) return build('li', { ...common, class: 'note' }, row.note);
    if (row.more) {
      return build('li', { ...common, class: 'more', onclick: () => attempt(() => this.more(row.parent)) }, `${count(row.more)} more …`);
    }
    const isRoot = row.node === null;
    const has = isRoot || row.node.children > 0;
    const isOpen = this.open.has(row.path);
    const toggle = (event) => {
      event.stopPropagation();
      this.focused = row.path;
      if (isOpen) this.collapse(row.path);
      else attempt(() => this.expand(row.path));
    };
    return build('li', {
      ...common,
      'aria-expanded': has ? String(isOpen) : null,
      'aria-selected': String(row.path === this.selected),
      onclick: () => this.choose(row.path),
    },
    build('span', { class: has ? 'twist' : 'twist none', onclick: has ? toggle : null, 'aria-hidden': 'true' }),
    build('span', { class: 'name' }, isRoot ? '/' : visible(row.node.name)),
    !isRoot && row.node.kind !== 'persistent' && tag(row.node.kind, row.node.kind),
    !isRoot && !row.node.readable && build('span', { class: 'lock', title: 'Needs an identity' }, 'locked'),
    !isRoot && row.node.children > 0 && build('span', { class: 'count', title: 'children' }, count(row.node.children)));
  }

  focus(path) {
    this.focused = path;
    this.draw();
    this.list.querySelector(`[data-key="${CSS.escape(`row-${path}`)}"]`)?.focus();
  }

  async key(event) {
    const rows = this.rows();
    const at = rows.findIndex((row) => row.path === this.focused);
    const row = rows[at] ?? rows[0];
    const isOpen = this.open.has(row.path);
    const moves = {
      ArrowDown: () => this.focus(rows[Math.min(at + 1, rows.length - 1)].path),
      ArrowUp: () => this.focus(rows[Math.max(at - 1, 0)].path),
      Home: () => this.focus(rows[0].path),
      End: () => this.focus(rows[rows.length - 1].path),
      ArrowRight: async () => {
        if (!isOpen && row.node?.children > 0) {
          await this.expand(row.path);
          this.focus(row.path);
        } else if (isOpen && rows[at + 1]?.level > row.level) this.focus(rows[at + 1].path);
      },
      ArrowLeft: () => {
        if (isOpen && row.path !== '/') {
          this.collapse(row.path);
          this.focus(row.path);
        } else if (row.parent || row.path !== '/') this.focus(row.parent ?? parentOf(row.path));
      },
      Enter: () => (row.more ? this.more(row.parent) : row.clear ? this.filter(row.clear, '') : row.note ? null : this.choose(row.path)),
    };
    moves[' '] = moves.Enter;
    if (moves[event.key] && !event.ctrlKey && !event.altKey && !event.metaKey) {
      event.preventDefault();
      await moves[event.key]();
    }
  }

  choose(path) {
    this.focused = path;
    location.hash = treeLink(path);
  }

  // Shows a znode, and opens the way to it.
  show(path) {
    if (path !== this.selected) {
      this.held = null;
      this.form = null;
      fill(this.detail, build('p', { class: 'quiet' }, 'Loading …'));
      this.search.value = this.open.get(path)?.wanted ?? '';
      this.search.placeholder = filterTitle(path);
      this.search.setAttribute('aria-label', filterTitle(path));
      getSelection().removeAllRanges();
    }
    this.selected = path;
    this.focused = path;
    this.reveal = true;
    this.isClosed = true;
  }

  // ---- refresh -----------------------------------------------------------------------------------

  async refresh() {
    const path = this.selected;
    // What somebody looks at comes first.
    const node = await this.znode(path);
    if (path !== this.selected) return;
    if (node) this.drawDetail(node);
    const isRevealed = this.reveal;
    await this.loadAround(path, node);
    if (path !== this.selected) return;
    this.draw();
    if (isRevealed) {
      this.reveal = false;
      this.scrollTo(path);
    }
  }

  // The selected znode; null when it is not there, or another one was selected meanwhile.
  async znode(path) {
    let node = null;
    try {
      node = await ask('znode', { path });
    } catch (error) {
      if (error.status !== 404) throw error;
    }
    if (path !== this.selected) return null;
    if (user() && node && (node.may.set || node.may.create || node.may.delete)) noteNamed();
    if (!node) {
      this.held = null;
      if (isNew(this.detail, [path, 'gone'])) {
        fill(this.detail, this.crumbs(path), build('div', { class: 'title' }, build('h2', { class: 'name' }, shown(nameOf(path)))),
          build('p', { class: 'quiet' }, 'This znode is gone, or was never there.'));
      }
      return null;
    }
    // What was loaded behind the first part stays while the data is the same.
    if (!node.data) this.held = null;
    else if (this.held?.path !== path || this.held.mzxid !== node.stat.mzxid) {
      this.held = { path, mzxid: node.stat.mzxid, octets: decode(node.data.base64), more: node.data.more ?? 0 };
    }
    return node;
  }

  // Children on the way to the selected znode, and of the others that are open.
  async loadAround(path, node) {
    const way = wayTo(path);
    // A znode that was selected is opened as soon as it may be read.
    if (this.isClosed && (path === '/' || node?.may.read)) {
      this.isClosed = false;
      if (path === '/' || node.stat.num_children > 0 && !this.open.has(path)) await this.load(path);
    }
    if (this.reveal) {
      for (const above of way.slice(0, -1)) if (this.reveal) await this.load(above);
      return;
    }
    const first = way.filter((one) => this.open.has(one));
    const others = [...this.open.keys()].filter((one) => !first.includes(one));
    for (const open of [...first, ...others].slice(0, REFRESHED_MAX)) if (this.open.has(open)) await this.load(open);
  }

  // Gets the bytes that are missing of some data, whatever is selected meanwhile.
  whole(path, held) {
    held.loading ??= this.rest(path, held).finally(() => { held.loading = null; });
    return held.loading;
  }

  async rest(path, held) {
    while (held.more > 0) {
      const part = await ask('znode', { path, from: held.octets.length });
      if (part.stat.mzxid !== held.mzxid || !part.data) throw problem(`The data of ${path} has changed while it was loaded.`);
      const next = decode(part.data.base64);
      const all = new Uint8Array(held.octets.length + next.length);
      all.set(held.octets);
      all.set(next, held.octets.length);
      held.octets = all;
      held.more = part.data.more;
    }
  }

  async download(path, held) {
    await this.whole(path, held);
    const url = URL.createObjectURL(new Blob([held.octets], { type: 'application/octet-stream' }));
    build('a', { href: url, download: nameOf(path) === '/' ? 'root' : nameOf(path) }).click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  }

  crumbs(path) {
    const parts = path === '/' ? [] : path.slice(1).split('/');
    return build('nav', { class: 'crumbs', 'aria-label': 'Path' }, build('a', { href: '#/tree' }, '/'),
      parts.map((part, at) => [at > 0 && build('span', { 'aria-hidden': 'true' }, '/'),
        build('a', { href: treeLink(`/${parts.slice(0, at + 1).join('/')}`), 'aria-current': at === parts.length - 1 ? 'page' : null }, shown(part))]));
  }

  drawDetail(node) {
    if (!isNew(this.detail, [{ ...node, zxid: null }, this.held?.octets.length, user(), isNamed()])) return;
    const { stat, path } = node;
    const held = this.held ?? { octets: new Uint8Array(), more: 0 };
    fill(this.detail, this.crumbs(path),
      build('div', { class: 'title' }, build('h2', { class: 'name' }, shown(nameOf(path))),
        tag(node.kind, node.kind), node.ttl_ms !== null && tag(`ttl ${span(node.ttl_ms)}`), this.actions(node, held)),
      card(`Data (${bytes(stat.data_length)})`, node.data === null
        ? build('p', { class: 'locked' }, user() ? `Its ACL does not let you read it.${doubt()}` : 'Its ACL asks for an identity: sign in to see it.')
        : dataView({
          isNull: node.data.is_null, octets: held.octets, more: held.more,
          load: () => attempt(async () => { await this.whole(path, held); await this.refresh(); }),
          download: () => attempt(() => this.download(path, held)),
        }, this.form, (form) => { this.form = form; })),
      build('div', { class: 'columns' },
        card('Stat', facts([
          ['Created', [time(stat.ctime), ' at ', build('span', { class: 'mono' }, stat.czxid)]],
          ['Modified', [time(stat.mtime), ' at ', build('span', { class: 'mono' }, stat.mzxid)]],
          ['Children changed at', build('span', { class: 'mono' }, stat.pzxid)],
          ['Version of data', String(stat.version)],
          ['Version of children', String(stat.cversion)],
          ['Version of ACL', String(stat.aversion)],
          ['Ephemeral owner', node.kind === 'ephemeral' ? sessionLink(stat.ephemeral_owner) : null],
          ['Data', `${count(stat.data_length)} bytes`],
          ['Children', count(stat.num_children)],
        ])),
        card('Access control', node.acl === null
          ? build('p', { class: 'quiet' }, 'Only who may read or administer it sees its ACL.')
          : table('Access control list', [['Who'], ['May']], node.acl.map((entry) =>
            [build('span', { class: 'mono' }, `${entry.scheme}:${entry.id}`), rights(entry.perms)]), 'Everybody may do everything.'))));
  }

  // ---- changes -----------------------------------------------------------------------------------

  actions(node, held) {
    if (!user()) return null;
    const { may, path } = node;
    const all = [
      may.set && node.data !== null && ['Edit', () => this.edit(node, held)],
      may.create && node.kind !== 'ephemeral' && ['Add a child', () => this.add(path)],
      may.delete && ['Delete', () => this.remove(node)],
    ].filter(Boolean);
    if (all.length === 0) return build('span', { class: 'quiet' }, `Its ACL does not name you for changes.${doubt()}`);
    return build('div', { class: 'actions' }, all.map(([name, onclick]) =>
      build('button', {
        type: 'button', 'data-key': `do-${name}`, class: name === 'Delete' ? 'danger' : null, onclick: () => attempt(onclick),
      }, name)));
  }

  async edit(node, held) {
    await this.whole(node.path, held);
    const { octets } = held;
    const text = asText(octets);
    const refuse = (why) => form('Edit', build('p', {}, `${why} Use the shell.`), 'Close', async () => {});
    if (text === null || octets.length > EDIT_BYTES_MAX) {
      refuse('This data is no text, or too long for a form.');
      return;
    }
    const area = build('textarea', { rows: '14', 'aria-label': 'Data', spellcheck: 'false' });
    area.value = text;
    // A textarea has one kind of newline.
    const isCrlf = text.includes('\r\n');
    const typed = () => new TextEncoder().encode(isCrlf ? area.value.replaceAll('\n', '\r\n') : area.value);
    if (!isSame(typed(), octets)) {
      refuse('The lines of this data end in more than one way, which a form would not keep.');
      return;
    }
    form(`Data of ${node.path}`, area, 'Set', async () => {
      await change('PUT', { path: node.path, version: node.stat.version }, typed());
    }).then(() => attempt(() => this.refresh()));
  }

  add(path) {
    const name = build('input', { required: true, autocomplete: 'off' });
    const area = build('textarea', { rows: '6', spellcheck: 'false' });
    const sequential = build('input', { type: 'checkbox' });
    form(`A child of ${path}`, [build('label', {}, 'Name ', name), build('label', {}, 'Data ', area),
      build('label', { class: 'check' }, sequential, ' Number it (sequential)'),
      build('p', { class: 'quiet' }, 'It gets the ACL of its parent.')], 'Create', async () => {
      if (name.value.includes('/')) throw new Error('A name has no slash.');
      const made = await change('POST', { path: join(path, name.value), sequential: sequential.checked ? 'true' : '' },
        new TextEncoder().encode(area.value));
      await this.load(path);
      this.choose(made.path);
    }).then(() => attempt(() => this.refresh()));
  }

  remove(node) {
    form('Delete', build('p', {}, 'Delete ', build('span', { class: 'mono' }, shown(node.path)), '? There is no way back.'), 'Delete', async () => {
      await change('DELETE', { path: node.path, version: node.stat.version });
      await this.load(parentOf(node.path));
      this.choose(parentOf(node.path));
    });
  }
}

// A wrong password proves an identity too, which no ACL names.
const doubt = () => (isNamed() ? '' : ` No ACL seen so far names ${user()} with this password.`);

const RIGHTS = { c: 'create', d: 'delete', r: 'read', w: 'write', a: 'admin' };
const rights = (letters) => [...letters].map((letter) => [tag(RIGHTS[letter] ?? letter), ' ']);

// A dialog; what `then` says comes true when it has been sent and taken.
function form(title, fields, submit, send) {
  const dialog = element('edit-dialog');
  const button = element('edit-submit');
  element('edit-title').textContent = title;
  button.textContent = submit;
  button.disabled = false;
  button.classList.toggle('danger', submit === 'Delete');
  fill(element('edit-fields'), fields);
  const say = (text) => {
    element('edit-error').textContent = text ?? '';
    element('edit-error').hidden = !text;
  };
  say(null);
  const typed = () => [...dialog.querySelectorAll('input, textarea')].map((one) => (one.type === 'checkbox' ? one.checked : one.value)).join('\0');
  const before = typed();
  let isWarned = false;
  dialog.oncancel = (event) => {
    if (typed() === before || isWarned) return;
    event.preventDefault();
    isWarned = true;
    say('Escape again throws away what was typed.');
  };
  dialog.oninput = () => { isWarned = false; };
  getSelection().removeAllRanges();
  dialog.showModal();
  return new Promise((resolve) => {
    element('edit-cancel').onclick = () => dialog.close();
    dialog.querySelector('form').onsubmit = async (event) => {
      event.preventDefault();
      if (button.disabled) return;
      button.disabled = true;
      try {
        await send();
        dialog.close();
        resolve();
      } catch (error) {
        say(error.message);
      } finally {
        button.disabled = false;
      }
    };
  });
}

export function treeView(main, [path]) {
  const tree = new Tree(main, path);
  const update = () => tree.refresh();
  update.open = (next) => tree.show(next);
  return update;
}
