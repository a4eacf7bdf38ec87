//! Arguments that are made known to clap only where they are used.

use std::ops::Deref;

use clap::{
    ArgMatches, Args, Command, FromArgMatches,
    builder::{Resettable, StyledStr},
};

/// The arguments of a verb. There are dozens for each, and to describe those of all verbs takes
/// longer than anything else before the first worker is started, so clap asks for those of the one
/// verb that is there.
#[derive(Debug)]
pub struct Deferred<A>(pub A);

impl<A> Deref for Deferred<A> {
    type Target = A;

    fn deref(&self) -> &A {
        &self.0
    }
}

impl<A: Args> Args for Deferred<A> {
    fn augment_args(command: Command) -> Command {
        command.defer(|command| keep_about(command, A::augment_args))
    }

    fn augment_args_for_update(command: Command) -> Command {
        command.defer(|command| keep_about(command, A::augment_args_for_update))
    }
}

/// What the verb says of itself is not replaced by what its arguments say.
fn keep_about(command: Command, augment: fn(Command) -> Command) -> Command {
    let said =
        |text: Option<&StyledStr>| text.cloned().map_or(Resettable::Reset, Resettable::Value);
    let (about, long_about) = (said(command.get_about()), said(command.get_long_about()));
    augment(command).about(about).long_about(long_about)
}

impl<A: FromArgMatches> FromArgMatches for Deferred<A> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        A::from_arg_matches(matches).map(Self)
    }

    fn from_arg_matches_mut(matches: &mut ArgMatches) -> Result<Self, clap::Error> {
        A::from_arg_matches_mut(matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.update_from_arg_matches(matches)
    }
}
