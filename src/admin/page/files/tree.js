// The tree and one znode of it.

import { Refused, ask, change, user } from './ask.js';
import { build, bytes, card, count, facts, fill, isNew, sessionLink, span, table, tag, time, treeLink } from './build.js';
import { asText, dataView, decode, isSame } from './data.js';

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
const visible = (name) => (name.trim() === '' ? JSON.stringify(name) : name);
const element = (id) => document.getElementById(id);

class Tree {
  constructor(main, path) {
    this.selected = path;
    this.focused = path;
    // Open znodes by path: { children, more, found, total, pages, error, wanted }.
    this.open = new Map();
    this.form = null;
    this.octets = null;
    // The way to the selected znode has to be opened.
    this.reveal = true;
    this.list = build('ul', { class: 'tree', role: 'tree', 'aria-label': 'Znodes', onkeydown: (event) => this.key(event) });
    this.detail = build('div', { class: 'detail' });
    this.search = build('input', {
      type: 'search', id: 'find', placeholder: 'Filter its children', 'aria-label': 'Filter the children of the selected znode',
      oninput: () => this.filter(),
    });
    fill(main, build('h1', { class: 'hidden' }, 'Tree'), build('div', { class: 'browser' },
      build('div', { class: 'panel' }, this.search, this.list), this.detail));
  }

  // ---- children ----------------------------------------------------------------------------------

  async load(path) {
    const entry = this.open.get(path) ?? { pages: 1, wanted: '' };
    let children = [];
    try {
      let found = null;
      do {
        const limit = Math.min(ANSWER_MAX, entry.pages * PAGE_LEN - children.length);
        found = await ask('children', { path, find: entry.wanted, after: children.at(-1)?.name, limit });
        children = children.concat(found.children);
      } while (found.more > 0 && children.length < entry.pages * PAGE_LEN && found.children.length > 0);
      Object.assign(entry, { children, more: found.more, found: found.found, total: found.total, error: null });
    } catch (error) {
      if (!(error instanceof Refused) || ![403, 404].includes(error.status)) throw error;
      if (error.status === 404) {
        this.open.delete(path);
        return;
      }
      Object.assign(entry, { children: [], more: 0, found: 0, total: 0, error: error.message });
    }
    this.open.set(path, entry);
  }

  async expand(path) {
    if (!this.open.has(path)) await this.load(path);
    this.draw();
  }

  collapse(path) {
    if (path !== '/') this.open.delete(path);
    this.draw();
  }

  async filter() {
    const path = this.selected;
    await this.load(path);
    const entry = this.open.get(path);
    if (!entry) return;
    entry.wanted = this.search.value;
    entry.pages = 1;
    await this.load(path);
    this.draw();
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
      for (const node of entry.children) {
        const child = join(path, node.name);
        rows.push({ path: child, level, node });
        below(child, level + 1);
      }
      if (entry.more > 0) rows.push({ more: entry.more, parent: path, level, path: `${path}//more` });
      if (entry.wanted && entry.found === 0) rows.push({ note: 'No child has that in its name.', level, path: `${path}//none` });
    };
    below('/', 2);
    return rows;
  }

  draw() {
    const rows = this.rows();
    if (!rows.some((row) => row.path === this.focused)) this.focused = '/';
    const known = rows.map((row) => [row, this.open.has(row.path)]);
    if (!isNew(this.list, [known, this.selected, this.focused])) return;
    fill(this.list, rows.map((row) => this.row(row)));
  }

  row(row) {
    const common = {
      role: 'treeitem', 'aria-level': row.level, 'data-key': `row-${row.path}`, 'data-path': row.path,
      tabindex: row.path === this.focused ? '0' : '-1', class: `level-${Math.min(row.level, 12)}`,
    };
    if (row.note) return build('li', { ...common, class: `${common.class} note` }, row.note);
    if (row.more) {
      return build('li', { ...common, class: `${common.class} more`, onclick: () => this.more(row.parent) }, `${count(row.more)} more …`);
    }
    const isRoot = row.node === null;
    const has = isRoot || row.node.children > 0;
    const isOpen = this.open.has(row.path);
    const toggle = (event) => {
      event.stopPropagation();
      this.focused = row.path;
      if (isOpen) this.collapse(row.path);
      else this.expand(row.path);
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
      Enter: () => (row.more ? this.more(row.parent) : row.note ? null : this.choose(row.path)),
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
      this.octets = null;
      this.form = null;
      fill(this.detail, build('p', { class: 'quiet' }, 'Loading …'));
      this.search.value = this.open.get(path)?.wanted ?? '';
    }
    this.selected = path;
    this.focused = path;
    this.reveal = true;
  }

  // ---- refresh -----------------------------------------------------------------------------------

  async refresh() {
    const path = this.selected;
    if (this.reveal) {
      const parts = path === '/' ? [] : path.slice(1).split('/');
      let above = '/';
      for (const part of ['', ...parts]) {
        above = part === '' ? '/' : join(above, part);
        if (above === path && path !== '/') break;
        if (!this.open.has(above)) await this.load(above);
      }
    } else {
      for (const open of [...this.open.keys()].slice(0, REFRESHED_MAX)) await this.load(open);
    }
    this.draw();
    const node = await ask('znode', { path });
    if (path !== this.selected) return;
    if (this.reveal) {
      this.reveal = false;
      if (node.may.read && node.stat.num_children > 0 && !this.open.has(path)) {
        await this.load(path);
        this.draw();
      }
    }
    // What was loaded behind the first part stays while the data is the same.
    if (node.data && !node.data.is_null && !(this.octets?.mzxid === node.stat.mzxid)) {
      this.octets = { mzxid: node.stat.mzxid, octets: decode(node.data.base64), more: node.data.more };
    }
    if (!node.data) this.octets = null;
    this.drawDetail(node);
  }

  async loadRest(path) {
    const held = this.octets;
    while (held.more > 0) {
      const part = await ask('znode', { path, from: held.octets.length });
      if (part.stat.mzxid !== held.mzxid || !part.data) return;
      const next = decode(part.data.base64);
      const all = new Uint8Array(held.octets.length + next.length);
      all.set(held.octets);
      all.set(next, held.octets.length);
      held.octets = all;
      held.more = part.data.more;
    }
    await this.refresh();
  }

  async download(path) {
    if (this.octets.more > 0) await this.loadRest(path);
    const url = URL.createObjectURL(new Blob([this.octets.octets], { type: 'application/octet-stream' }));
    build('a', { href: url, download: nameOf(path) === '/' ? 'root' : nameOf(path) }).click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  }

  drawDetail(node) {
    if (!isNew(this.detail, [{ ...node, zxid: null }, this.octets?.octets.length, user()])
      && this.detail.dataset.path === node.path) return;
    this.detail.dataset.path = node.path;
    const { stat, path } = node;
    const parts = path === '/' ? [] : path.slice(1).split('/');
    const crumbs = build('nav', { class: 'crumbs', 'aria-label': 'Path' }, build('a', { href: '#/tree' }, '/'),
      parts.map((part, at) => [at > 0 && build('span', { 'aria-hidden': 'true' }, '/'),
        build('a', { href: treeLink(`/${parts.slice(0, at + 1).join('/')}`), 'aria-current': at === parts.length - 1 ? 'page' : null }, part)]));
    const shown = this.octets ?? { octets: new Uint8Array(), more: 0 };
    fill(this.detail, crumbs,
      build('div', { class: 'title' }, build('h2', { class: 'name' }, nameOf(path)),
        tag(node.kind, node.kind), node.ttl_ms !== null && tag(`ttl ${span(node.ttl_ms)}`), this.actions(node)),
      card(`Data (${bytes(stat.data_length)})`, node.data === null
        ? build('p', { class: 'locked' }, user() ? 'Its ACL does not let you read it.' : 'Its ACL asks for an identity: sign in to see it.')
        : dataView({
          isNull: node.data.is_null, octets: shown.octets, more: shown.more,
          load: () => this.loadRest(path), download: () => this.download(path),
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

  actions(node) {
    if (!user()) return null;
    const { may, path } = node;
    const all = [
      may.set && node.data !== null && ['Edit', () => this.edit(node)],
      may.create && node.kind !== 'ephemeral' && ['Add a child', () => this.add(path)],
      may.delete && ['Delete', () => this.remove(node)],
    ].filter(Boolean);
    if (all.length === 0) return build('span', { class: 'quiet' }, 'Its ACL does not name you for changes.');
    return build('div', { class: 'actions' }, all.map(([name, onclick]) =>
      build('button', { type: 'button', 'data-key': `do-${name}`, onclick }, name)));
  }

  async edit(node) {
    if (this.octets?.more > 0) await this.loadRest(node.path);
    const octets = this.octets?.octets ?? new Uint8Array();
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
    }).then(() => this.refresh());
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
    }).then(() => this.refresh());
  }

  remove(node) {
    form('Delete', build('p', {}, 'Delete ', build('span', { class: 'mono' }, node.path), '? There is no way back.'), 'Delete', async () => {
      await change('DELETE', { path: node.path, version: node.stat.version });
      await this.load(parentOf(node.path));
      this.choose(parentOf(node.path));
    });
  }
}

const RIGHTS = { c: 'create', d: 'delete', r: 'read', w: 'write', a: 'admin' };
const rights = (letters) => [...letters].map((letter) => [tag(RIGHTS[letter] ?? letter), ' ']);

// A dialog; what `then` says comes true when it has been sent and taken.
function form(title, fields, submit, send) {
  const dialog = element('edit-dialog');
  element('edit-title').textContent = title;
  element('edit-submit').textContent = submit;
  fill(element('edit-fields'), fields);
  element('edit-error').hidden = true;
  dialog.showModal();
  return new Promise((resolve) => {
    element('edit-cancel').onclick = () => dialog.close();
    dialog.querySelector('form').onsubmit = async (event) => {
      event.preventDefault();
      try {
        await send();
        dialog.close();
        resolve();
      } catch (error) {
        element('edit-error').textContent = error.message;
        element('edit-error').hidden = false;
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
