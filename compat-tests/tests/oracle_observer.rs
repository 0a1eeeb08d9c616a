//! The oracle with sessions at the observer beside two voters, on both sides.

mod member;

use meerkat_compat_tests::oracle::Seat;

#[test]
fn an_observer_answers_scripts_alike() {
    member::scripts(Seat::Observer);
}

#[test]
fn an_observer_answers_what_it_cannot_read() {
    member::unreadable(Seat::Observer);
}

#[test]
fn an_observer_answers_random_requests_alike() {
    member::random(Seat::Observer);
}
