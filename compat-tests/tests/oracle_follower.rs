//! The oracle with sessions at a follower of three servers, on both sides.

mod member;

use meerkat_compat_tests::oracle::Seat;

#[test]
fn a_follower_answers_scripts_alike() {
    member::scripts(Seat::Follower);
}

#[test]
fn a_follower_answers_what_it_cannot_read() {
    member::unreadable(Seat::Follower);
}

#[test]
fn a_follower_answers_random_requests_alike() {
    member::random(Seat::Follower);
}
