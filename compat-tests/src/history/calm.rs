//! Servers to which nothing is done end no connection.

use super::{Ask, History, Rule, Violation, report, told};

pub(super) fn check(history: &History, found: &mut Vec<Violation>) {
    for session in &history.sessions {
        for connection in &session.connections {
            let asked = connection.requests.iter();
            let closing = asked.clone().any(|request| request.ask == Ask::Close);
            let Some(lost) = connection.lost.filter(|at| *at < history.calm && !closing) else {
                continue;
            };
            let open: Vec<_> = asked
                .filter(|request| request.answer.is_none())
                .map(ToString::to_string)
                .collect();
            let what = format!(
                "lost at {:.4} s, without answers to:\n{}",
                lost.as_secs_f64(),
                open.join("\n")
            );
            let text = told(session, connection, &what);
            report(found, Rule::ConnectionLost, text);
        }
    }
}
