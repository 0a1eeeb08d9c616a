//! Made-up histories: sound ones pass, and each planted bug is found by its rule.
//!
//! Times are in milliseconds, requests are answered 2 ms after they were sent unless said otherwise.

use std::time::Duration;

use super::*;

const R: &str = "/faults/register-0";
const FLIP: &str = "/faults/flip-0";

fn ms(ms: u64) -> Moment {
    Duration::from_millis(ms)
}

fn set(value: u64) -> Ask {
    Ask::Set {
        path: R.to_owned(),
        value,
        expected: -1,
    }
}

fn get(watch: bool) -> Ask {
    Ask::Get {
        path: R.to_owned(),
        watch,
    }
}

fn create(path: &str, value: u64, kind: CreateKind) -> Ask {
    Ask::Create {
        path: path.to_owned(),
        value,
        kind,
    }
}

fn delete(path: &str) -> Ask {
    Ask::Delete {
        path: path.to_owned(),
    }
}

fn exists(path: &str, watch: bool) -> Ask {
    Ask::Exists {
        path: path.to_owned(),
        watch,
    }
}

fn guests_listed(watch: bool) -> Ask {
    Ask::Children {
        path: GUESTS.to_owned(),
        watch,
    }
}

/// The register was created at zxid 1 with value 1.
fn stat(mzxid: i64, version: i32) -> Stat {
    Stat {
        czxid: 1,
        mzxid,
        pzxid: 1,
        version,
        owner: 0,
    }
}

/// Of a directory that was created at zxid 1 and whose children changed last at this one.
fn directory(pzxid: i64) -> Stat {
    Stat {
        pzxid,
        ..made_at(1, 0)
    }
}

fn made_at(zxid: i64, owner: i64) -> Stat {
    Stat {
        czxid: zxid,
        mzxid: zxid,
        pzxid: zxid,
        version: 0,
        owner,
    }
}

fn changed(zxid: i64) -> Frame {
    event(zxid, event_kind::CHANGED, R)
}

fn event(zxid: i64, kind: i32, path: &str) -> Frame {
    Frame::Event(Event {
        at: ms(60_000),
        zxid,
        kind,
        path: path.to_owned(),
    })
}

struct Maker(History);

impl Maker {
    /// Client 0 has created the register.
    fn new() -> Self {
        let mut maker = Self(History {
            slack: ms(100),
            ..History::default()
        });
        let client = maker.session();
        let body = Body::Created(R.to_owned(), made_at(1, 0));
        maker.answered(client, 0, 1, create(R, 1, CreateKind::Plain), Ok(body));
        maker
    }

    fn session(&mut self) -> usize {
        let client = self.0.sessions.len();
        self.0.sessions.push(Session {
            client,
            id: 0x100 + i64::try_from(client).unwrap(),
            timeout: ms(4000),
            connections: Vec::new(),
            end: End::Alive,
        });
        self.connection(client);
        client
    }

    fn id(&self, session: usize) -> i64 {
        self.0.sessions[session].id
    }

    fn connection(&mut self, session: usize) {
        self.0.sessions[session].connections.push(Connection {
            server: 1,
            requests: Vec::new(),
            frames: Vec::new(),
            lost: None,
        });
    }

    fn last(&mut self, session: usize) -> &mut Connection {
        self.0.sessions[session].connections.last_mut().unwrap()
    }

    /// A request whose answer does not come, or comes with [`Self::answer`].
    fn asked(&mut self, session: usize, sent: u64, ask: Ask) -> usize {
        let requests = &mut self.last(session).requests;
        requests.push(Request {
            sent: ms(sent),
            ask,
            answer: None,
        });
        requests.len() - 1
    }

    fn answer(
        &mut self,
        session: usize,
        index: usize,
        at: u64,
        zxid: i64,
        outcome: Result<Body, i32>,
    ) {
        let connection = self.last(session);
        connection.requests[index].answer = Some(Answer {
            at: ms(at),
            zxid,
            outcome,
        });
        connection.frames.push(Frame::Answer(index));
    }

    fn answered(
        &mut self,
        session: usize,
        sent: u64,
        zxid: i64,
        ask: Ask,
        outcome: Result<Body, i32>,
    ) {
        let index = self.asked(session, sent, ask);
        self.answer(session, index, sent + 2, zxid, outcome);
    }

    /// A setData that made this version, with the zxid as its value.
    fn write(&mut self, session: usize, sent: u64, zxid: i64, version: i32) {
        let outcome = Ok(Body::Stat(stat(zxid, version)));
        self.answered(session, sent, zxid, set(zxid.unsigned_abs()), outcome);
    }

    /// A getData that shows the write with this zxid.
    fn read(&mut self, session: usize, sent: u64, zxid: i64, shown: i64, version: i32) {
        self.read_watching(session, sent, zxid, shown, version, false);
    }

    fn read_watching(
        &mut self,
        session: usize,
        sent: u64,
        zxid: i64,
        shown: i64,
        version: i32,
        watch: bool,
    ) {
        let outcome = Ok(Body::Data(shown.unsigned_abs(), stat(shown, version)));
        self.answered(session, sent, zxid, get(watch), outcome);
    }

    fn sync(&mut self, session: usize, sent: u64, zxid: i64) {
        self.answered(session, sent, zxid, Ask::Sync, Ok(Body::Nothing));
    }

    fn frame(&mut self, session: usize, frame: Frame) {
        self.last(session).frames.push(frame);
    }

    fn push_sequential(&mut self, session: usize, sent: u64, zxid: i64, counter: u64) {
        let path = format!("{QUEUE}/item-{counter:010}");
        let ask = create("/faults/queue/item-", 100 + counter, CreateKind::Sequential);
        let body = Body::Created(path, made_at(zxid, 0));
        self.answered(session, sent, zxid, ask, Ok(body));
    }

    fn guest(&mut self, session: usize, sent: u64, zxid: i64) -> String {
        let path = format!("{GUESTS}/guest-{zxid}");
        let ask = create(&path, zxid.unsigned_abs(), CreateKind::Ephemeral);
        let owner = self.id(session);
        let body = Body::Created(path.clone(), made_at(zxid, owner));
        self.answered(session, sent, zxid, ask, Ok(body));
        path
    }

    fn close(&mut self, session: usize, sent: u64, zxid: i64) {
        self.answered(session, sent, zxid, Ask::Close, Ok(Body::Nothing));
        self.0.sessions[session].end = End::Left;
    }

    /// The tree of every server in the end: the register's last write and other znodes.
    fn tree(&mut self, mzxid: i64, version: i32, others: &[(&str, u64, Stat)]) {
        let mut znodes = BTreeMap::new();
        let register = (mzxid.unsigned_abs(), stat(mzxid, version));
        znodes.insert(R.to_owned(), register);
        znodes.insert(GUESTS.to_owned(), (1, directory(1)));
        for (path, value, stat) in others {
            znodes.insert((*path).to_owned(), (*value, *stat));
        }
        self.0.trees = [1, 2]
            .map(|server| Tree {
                server,
                znodes: znodes.clone(),
            })
            .into();
    }

    /// The rules that find something, each named once.
    #[track_caller]
    fn breaks(&self, expected: &[Rule]) {
        let found = check(&self.0);
        let mut rules: Vec<_> = found.iter().map(|violation| violation.rule).collect();
        rules.sort();
        rules.dedup();
        let told: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(rules, expected, "{}", told.join("\n"));
    }
}

// ---- sound histories ---------------------------------------------------------------------------

#[test]
fn a_quiet_life_is_sound() {
    let mut made = Maker::new();
    let (one, two) = (made.session(), made.session());
    made.write(one, 10, 2, 1);
    made.sync(two, 20, 2);
    made.read_watching(two, 21, 2, 2, 1, true);
    made.write(one, 30, 3, 2);
    made.frame(two, changed(3));
    made.read(two, 40, 3, 3, 2);
    let guest = made.guest(one, 50, 4);
    made.push_sequential(two, 60, 5, 0);
    let listed = Body::Children(vec!["guest-4".to_owned()], directory(4));
    made.answered(two, 70, 5, guests_listed(true), Ok(listed));
    made.close(one, 80, 6);
    made.frame(two, event(6, event_kind::CHILDREN, GUESTS));
    made.answered(two, 90, 6, exists(&guest, false), Err(NO_NODE));
    made.tree(
        3,
        2,
        &[("/faults/queue/item-0000000000", 100, made_at(5, 0))],
    );
    made.breaks(&[]);
}

#[test]
fn a_read_without_sync_may_be_stale() {
    let mut made = Maker::new();
    let (one, two) = (made.session(), made.session());
    made.write(one, 10, 2, 1);
    made.read(two, 20, 1, 1, 0);
    made.tree(2, 1, &[]);
    made.breaks(&[]);
}

#[test]
fn a_write_without_answer_may_or_may_not_be() {
    for applied in [false, true] {
        let mut made = Maker::new();
        let (one, two) = (made.session(), made.session());
        made.asked(one, 10, set(2));
        made.connection(one);
        if applied {
            made.read(two, 5000, 2, 2, 1);
            made.tree(2, 1, &[]);
        } else {
            made.read(two, 5000, 1, 1, 0);
            made.tree(1, 0, &[]);
        }
        made.breaks(&[]);
    }
}

#[test]
fn a_sync_sent_before_the_answer_promises_nothing() {
    let mut made = Maker::new();
    let (one, two) = (made.session(), made.session());
    let sync = made.asked(two, 11, Ask::Sync);
    made.write(one, 10, 2, 1);
    made.answer(two, sync, 13, 1, Ok(Body::Nothing));
    made.read(two, 14, 1, 1, 0);
    made.tree(2, 1, &[]);
    made.breaks(&[]);
}

#[test]
fn watches_set_again_tell_what_was_missed() {
    let mut made = Maker::new();
    let (one, two) = (made.session(), made.session());
    made.read_watching(two, 10, 1, 1, 0, true);
    made.answered(two, 12, 1, exists(FLIP, true), Err(NO_NODE));
    made.write(one, 20, 2, 1);
    made.connection(two);
    let again = Ask::SetWatches {
        data: vec![R.to_owned()],
        exist: vec![FLIP.to_owned()],
        child: Vec::new(),
    };
    let again = made.asked(two, 30, again);
    made.frame(two, changed(-1));
    made.answer(two, again, 31, 2, Ok(Body::Nothing));
    let body = Body::Created(FLIP.to_owned(), made_at(3, 0));
    made.answered(one, 40, 3, create(FLIP, 3, CreateKind::Plain), Ok(body));
    made.frame(two, event(3, event_kind::CREATED, FLIP));
    made.read(two, 50, 3, 2, 1);
    made.tree(2, 1, &[(FLIP, 3, made_at(3, 0))]);
    made.breaks(&[]);
}

#[test]
fn a_silent_session_may_expire() {
    let mut made = Maker::new();
    let (one, two) = (made.session(), made.session());
    let guest = made.guest(one, 10, 2);
    made.0.sessions[one].end = End::Expired { at: ms(4500) };
    made.sync(two, 4600, 3);
    made.answered(two, 4601, 3, exists(&guest, false), Err(NO_NODE));
    made.tree(1, 0, &[]);
    made.breaks(&[]);
}

// ---- sessions and order ------------------------------------------------------------------------

#[test]
fn a_stale_read_after_sync_is_found() {
    let mut made = Maker::new();
    let (one, two) = (made.session(), made.session());
    made.write(one, 10, 2, 1);
    made.sync(two, 20, 1);
    made.read(two, 21, 1, 1, 0);
    made.tree(2, 1, &[]);
    made.breaks(&[Rule::StaleAfterSync]);
}

#[test]
fn stale_data_under_a_new_zxid_is_found() {
    let mut made = Maker::new();
    let (one, two) = (made.session(), made.session());
    made.write(one, 10, 2, 1);
    made.sync(two, 20, 2);
    made.read(two, 21, 2, 1, 0);
    made.tree(2, 1, &[]);
    made.breaks(&[Rule::WrongData]);
}

#[test]
fn answers_out_of_order_are_found() {
    let mut made = Maker::new();
    let one = made.session();
    let first = made.asked(one, 10, set(2));
    let second = made.asked(one, 11, set(3));
    made.answer(one, second, 12, 3, Ok(Body::Stat(stat(3, 2))));
    made.answer(one, first, 13, 2, Ok(Body::Stat(stat(2, 1))));
    made.tree(3, 2, &[]);
    made.breaks(&[Rule::ReorderedSession, Rule::WentBack]);
}

#[test]
fn writes_applied_out_of_order_are_found() {
    let mut made = Maker::new();
    let one = made.session();
    let first = made.asked(one, 10, set(3));
    let second = made.asked(one, 11, set(2));
    made.answer(one, first, 12, 3, Ok(Body::Stat(stat(3, 2))));
    made.answer(one, second, 13, 2, Ok(Body::Stat(stat(2, 1))));
    made.tree(3, 2, &[]);
    made.breaks(&[Rule::ReorderedSession, Rule::WentBack]);
}

#[test]
fn a_gap_in_what_a_session_sent_is_found() {
    let mut made = Maker::new();
    let one = made.session();
    let item = |value| create("/faults/queue/item-", value, CreateKind::Sequential);
    made.asked(one, 10, item(100));
    made.asked(one, 11, item(101));
    made.connection(one);
    made.tree(
        1,
        0,
        &[("/faults/queue/item-0000000000", 101, made_at(2, 0))],
    );
    made.breaks(&[Rule::ReorderedSession]);
}

#[test]
fn an_old_connections_write_after_a_new_ones_is_found() {
    let mut made = Maker::new();
    let one = made.session();
    made.asked(
        one,
        10,
        create("/faults/queue/item-", 101, CreateKind::Sequential),
    );
    made.connection(one);
    made.push_sequential(one, 20, 2, 0);
    made.tree(
        1,
        0,
        &[
            ("/faults/queue/item-0000000000", 100, made_at(2, 0)),
            ("/faults/queue/item-0000000001", 101, made_at(3, 0)),
        ],
    );
    made.breaks(&[Rule::ReorderedSession]);
}

#[test]
fn a_session_that_goes_back_on_another_server_is_found() {
    let mut made = Maker::new();
    let (one, two) = (made.session(), made.session());
    made.write(one, 10, 2, 1);
    made.read(two, 20, 2, 2, 1);
    made.connection(two);
    made.read(two, 30, 1, 1, 0);
    made.tree(2, 1, &[]);
    made.breaks(&[Rule::WentBack]);
}

#[test]
fn an_order_of_writes_that_time_denies_is_found() {
    let mut made = Maker::new();
    let (one, two) = (made.session(), made.session());
    made.write(one, 10, 3, 2);
    made.write(two, 20, 2, 1);
    made.tree(3, 2, &[]);
    made.breaks(&[Rule::WriteOrder]);
}

#[test]
fn a_connection_that_ends_in_calm_is_found() {
    for (calm, broken) in [(100, vec![Rule::ConnectionLost]), (50, Vec::new())] {
        let mut made = Maker::new();
        let one = made.session();
        made.asked(one, 10, Ask::Sync);
        made.last(one).lost = Some(ms(60));
        made.0.calm = ms(calm);
        made.tree(1, 0, &[]);
        made.breaks(&broken);
    }
}

// ---- writes ------------------------------------------------------------------------------------

#[test]
fn a_lost_write_is_found() {
    let mut made = Maker::new();
    let one = made.session();
    made.write(one, 10, 2, 1);
    made.tree(1, 0, &[]);
    made.breaks(&[Rule::LostWrite]);
}

#[test]
fn a_lost_create_is_found() {
    let mut made = Maker::new();
    let one = made.session();
    made.push_sequential(one, 10, 2, 0);
    made.tree(1, 0, &[]);
    made.breaks(&[Rule::LostWrite]);
}

#[test]
fn a_delete_that_was_undone_is_found() {
    let mut made = Maker::new();
    let one = made.session();
    let body = Body::Created(FLIP.to_owned(), made_at(2, 0));
    made.answered(one, 10, 2, create(FLIP, 2, CreateKind::Plain), Ok(body));
    made.answered(one, 20, 3, delete(FLIP), Ok(Body::Nothing));
    made.tree(1, 0, &[(FLIP, 2, made_at(2, 0))]);
    made.breaks(&[Rule::LostWrite]);
}

#[test]
fn a_create_applied_twice_is_found() {
    let mut made = Maker::new();
    let one = made.session();
    made.push_sequential(one, 10, 2, 0);
    made.tree(
        1,
        0,
        &[
            ("/faults/queue/item-0000000000", 100, made_at(2, 0)),
            ("/faults/queue/item-0000000001", 100, made_at(3, 0)),
        ],
    );
    made.breaks(&[Rule::WriteTwice]);
}

#[test]
fn a_set_applied_twice_is_found() {
    let mut made = Maker::new();
    let one = made.session();
    made.write(one, 10, 2, 1);
    made.write(one, 20, 4, 3);
    made.tree(4, 3, &[]);
    made.breaks(&[Rule::WriteTwice]);
}

#[test]
fn a_refused_write_that_was_applied_is_found() {
    let mut made = Maker::new();
    let (one, two) = (made.session(), made.session());
    made.answered(one, 10, 2, set(2), Err(BAD_VERSION));
    made.read(two, 20, 2, 2, 1);
    made.tree(2, 1, &[]);
    made.breaks(&[Rule::WrongData]);
}

#[test]
fn a_wrong_refusal_is_found() {
    let mut made = Maker::new();
    let (one, two) = (made.session(), made.session());
    made.write(one, 10, 2, 1);
    let conditional = Ask::Set {
        path: R.to_owned(),
        value: 50,
        expected: 1,
    };
    made.answered(two, 20, 3, conditional, Err(BAD_VERSION));
    made.write(one, 30, 4, 2);
    made.tree(4, 2, &[]);
    made.breaks(&[Rule::WrongData]);
}

#[test]
fn servers_that_differ_are_found() {
    let mut made = Maker::new();
    let one = made.session();
    made.asked(one, 10, set(2));
    made.tree(1, 0, &[]);
    made.0.trees[1].znodes.insert(R.to_owned(), (2, stat(2, 1)));
    made.breaks(&[Rule::LostWrite, Rule::ServersDiffer]);
}

// ---- watches -----------------------------------------------------------------------------------

/// Client 2 has read the register as it was created and watches it; client 1 writes.
fn watched() -> (Maker, usize) {
    let mut made = Maker::new();
    let (one, two) = (made.session(), made.session());
    made.read_watching(two, 10, 1, 1, 0, true);
    made.write(one, 20, 2, 1);
    made.tree(2, 1, &[]);
    (made, two)
}

#[test]
fn a_late_event_is_found() {
    let (mut made, two) = watched();
    made.read(two, 30, 2, 2, 1);
    made.frame(two, changed(2));
    made.breaks(&[Rule::LateEvent, Rule::MissingEvent]);
}

#[test]
fn a_missing_event_is_found() {
    let (mut made, two) = watched();
    made.sync(two, 30, 2);
    made.breaks(&[Rule::MissingEvent]);
}

#[test]
fn an_event_missing_after_watches_were_set_again_is_found() {
    let (mut made, two) = watched();
    made.connection(two);
    let again = Ask::SetWatches {
        data: vec![R.to_owned()],
        exist: Vec::new(),
        child: Vec::new(),
    };
    made.answered(two, 30, 2, again, Ok(Body::Nothing));
    made.breaks(&[Rule::MissingEvent]);
}

#[test]
fn a_creation_missed_by_watches_set_again_is_found() {
    let mut made = Maker::new();
    let (one, two) = (made.session(), made.session());
    made.answered(two, 10, 1, exists(FLIP, true), Err(NO_NODE));
    let body = Body::Created(FLIP.to_owned(), made_at(2, 0));
    made.answered(one, 20, 2, create(FLIP, 2, CreateKind::Plain), Ok(body));
    made.connection(two);
    let again = Ask::SetWatches {
        data: Vec::new(),
        exist: vec![FLIP.to_owned()],
        child: Vec::new(),
    };
    made.answered(two, 30, 2, again, Ok(Body::Nothing));
    made.tree(1, 0, &[(FLIP, 2, made_at(2, 0))]);
    made.breaks(&[Rule::MissingEvent]);
}

#[test]
fn an_event_for_a_later_change_than_the_first_is_found() {
    let (mut made, two) = watched();
    made.write(1, 30, 3, 2);
    made.frame(two, changed(3));
    made.tree(3, 2, &[]);
    made.breaks(&[Rule::MissingEvent]);
}

#[test]
fn a_second_event_for_one_watch_is_found() {
    let (mut made, two) = watched();
    made.frame(two, changed(2));
    made.frame(two, changed(2));
    made.breaks(&[Rule::InventedEvent]);
}

#[test]
fn an_event_without_a_change_is_found() {
    let (mut made, two) = watched();
    made.frame(two, changed(2));
    made.read_watching(two, 30, 2, 2, 1, true);
    made.frame(two, changed(3));
    made.breaks(&[Rule::InventedEvent]);
}

#[test]
fn an_event_of_the_wrong_kind_is_found() {
    let (mut made, two) = watched();
    made.frame(two, event(2, event_kind::DELETED, R));
    made.breaks(&[Rule::InventedEvent]);
}

#[test]
fn a_missing_event_of_children_is_found() {
    let mut made = Maker::new();
    let (one, two) = (made.session(), made.session());
    let listed = Body::Children(Vec::new(), directory(1));
    made.answered(two, 10, 1, guests_listed(true), Ok(listed));
    let guest = made.guest(one, 20, 2);
    made.sync(two, 30, 2);
    let owner = made.id(one);
    made.tree(1, 0, &[(&guest, 2, made_at(2, owner))]);
    made.breaks(&[Rule::MissingEvent]);
}

// ---- ephemerals --------------------------------------------------------------------------------

#[test]
fn an_ephemeral_that_outlives_its_closed_session_is_found() {
    let mut made = Maker::new();
    let (one, two) = (made.session(), made.session());
    let guest = made.guest(one, 10, 2);
    made.close(one, 20, 3);
    let body = Body::Stat(made_at(2, made.id(one)));
    made.answered(two, 30, 3, exists(&guest, false), Ok(body));
    made.tree(1, 0, &[]);
    made.breaks(&[Rule::WrongData, Rule::EphemeralOutlives]);
}

#[test]
fn an_ephemeral_that_outlives_its_expired_session_is_found() {
    let mut made = Maker::new();
    let (one, two) = (made.session(), made.session());
    let guest = made.guest(one, 10, 2);
    made.0.sessions[one].end = End::Expired { at: ms(5000) };
    made.sync(two, 5100, 3);
    let body = Body::Stat(made_at(2, made.id(one)));
    made.answered(two, 5101, 3, exists(&guest, false), Ok(body));
    made.tree(1, 0, &[]);
    made.breaks(&[Rule::EphemeralOutlives]);
}

#[test]
fn an_ephemeral_that_stays_for_ever_is_found() {
    let mut made = Maker::new();
    let one = made.session();
    let guest = made.guest(one, 10, 2);
    made.0.sessions[one].end = End::Left;
    let owner = made.id(one);
    made.tree(1, 0, &[(&guest, 2, made_at(2, owner))]);
    made.breaks(&[Rule::EphemeralOutlives]);
}

#[test]
fn an_ephemeral_gone_before_its_session_is_found() {
    let mut made = Maker::new();
    let (one, two) = (made.session(), made.session());
    let guest = made.guest(one, 10, 2);
    made.answered(two, 5000, 3, exists(&guest, false), Err(NO_NODE));
    made.sync(two, 5010, 3);
    made.write(one, 5020, 4, 1);
    let owner = made.id(one);
    made.tree(4, 1, &[(&guest, 2, made_at(2, owner))]);
    made.breaks(&[Rule::EphemeralGone]);
}

#[test]
fn an_ephemeral_gone_while_its_session_is_young_is_found() {
    let mut made = Maker::new();
    let (one, two) = (made.session(), made.session());
    let guest = made.guest(one, 10, 2);
    made.answered(two, 1000, 3, exists(&guest, false), Err(NO_NODE));
    let owner = made.id(one);
    made.tree(1, 0, &[(&guest, 2, made_at(2, owner))]);
    made.breaks(&[Rule::EphemeralGone]);
}

#[test]
fn an_ephemeral_that_a_living_session_lacks_in_the_end_is_found() {
    let mut made = Maker::new();
    let one = made.session();
    made.guest(one, 10, 2);
    made.tree(1, 0, &[]);
    made.breaks(&[Rule::EphemeralGone]);
}

#[test]
fn a_session_that_expired_in_use_is_found() {
    let mut made = Maker::new();
    let one = made.session();
    made.write(one, 1000, 2, 1);
    made.0.sessions[one].end = End::Expired { at: ms(2000) };
    made.tree(2, 1, &[]);
    made.breaks(&[Rule::SessionLost]);
}
