//! The lazy maps of a pool.

use std::fmt;

use serde::Serialize;

use super::Pool;
use crate::{
    arguments::FromResult,
    error::Error,
    imap::{self, Imap, ImapOptions, Spread},
};

impl Pool {
    /// A lazy map: results in the order of the inputs, which may be endless or slow. Inputs are
    /// taken on a thread of their own, and only so far ahead as
    /// [`ImapOptions::buffer_size`] says.
    ///
    /// ```
    /// # let pool = integration_tests::library::pool(2).build()?;
    /// let mut sum = 0;
    /// for square in pool.imap::<_, i64>("square", 0..)?.take(10) {
    ///     sum += square?;
    /// }
    /// assert_eq!(sum, 285);
    /// # Ok::<(), master::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NotRunning`] after [`Self::close`] or [`Self::terminate`], and
    /// [`Error::PoolFailed`]. What concerns an input comes in its place.
    pub fn imap<A: Serialize + 'static, R: FromResult>(
        &self,
        function: &str,
        inputs: impl IntoIterator<Item = A, IntoIter: Send + 'static>,
    ) -> Result<Imap<R>, Error> {
        self.imap_with(function, inputs, ImapOptions::default())
    }

    /// As [`Self::imap`], with results as they come.
    ///
    /// ```
    /// # let pool = integration_tests::library::pool(2).build()?;
    /// let squares = pool.imap_unordered::<_, i64>("square", 0..10)?;
    /// assert_eq!(squares.sum::<Result<i64, _>>()?, 285);
    /// # Ok::<(), master::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Self::imap`].
    pub fn imap_unordered<A: Serialize + 'static, R: FromResult>(
        &self,
        function: &str,
        inputs: impl IntoIterator<Item = A, IntoIter: Send + 'static>,
    ) -> Result<Imap<R>, Error> {
        let options = ImapOptions { unordered: true, ..ImapOptions::default() };
        self.imap_with(function, inputs, options)
    }

    /// As [`Self::imap`], with options.
    ///
    /// ```
    /// use master::ImapOptions;
    ///
    /// # let pool = integration_tests::library::pool(2).build()?;
    /// let options = ImapOptions { chunk_size: 10, spread: true, ..ImapOptions::default() };
    /// let squares = pool.imap_with::<_, i64>("square", [(2, 0.0), (3, 0.1)], options)?;
    /// assert_eq!(squares.collect::<Result<Vec<_>, _>>()?, [4, 9]);
    /// # Ok::<(), master::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Self::imap`], and [`Error::InvalidArgument`] for a size of 0.
    pub fn imap_with<A: Serialize + 'static, R: FromResult>(
        &self,
        function: &str,
        inputs: impl IntoIterator<Item = A, IntoIter: Send + 'static>,
        options: ImapOptions,
    ) -> Result<Imap<R>, Error> {
        let inputs = inputs.into_iter().map(Ok::<A, std::convert::Infallible>);
        self.try_imap_with(function, inputs, options)
    }

    /// As [`Self::imap_with`], over an iterator that may fail. The results of the inputs before
    /// the failure come first, then the failure as [`Error::Input`], then the end.
    ///
    /// ```
    /// use master::{Error, ImapOptions};
    ///
    /// # let pool = integration_tests::library::pool(1).build()?;
    /// let numbers = ["2", "three", "4"].into_iter().map(str::parse::<i64>);
    /// let mut squares = pool.try_imap_with::<_, _, i64>("square", numbers, ImapOptions::default())?;
    /// assert!(matches!(squares.next(), Some(Ok(4))));
    /// assert!(matches!(squares.next(), Some(Err(Error::Input(_)))));
    /// assert!(squares.next().is_none());
    /// # Ok::<(), master::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Self::imap_with`].
    pub fn try_imap_with<A: Serialize, E: fmt::Display, R: FromResult>(
        &self,
        function: &str,
        inputs: impl IntoIterator<Item = Result<A, E>, IntoIter: Send + 'static>,
        options: ImapOptions,
    ) -> Result<Imap<R>, Error> {
        options.check()?;
        let ImapOptions { chunk_size, buffer_size, unordered, spread } = options;
        let spread = if spread { Spread::Arguments } else { Spread::Single };
        let options = self.stream_options(!unordered, Some(chunk_size as u64), buffer_size as u64);
        let ends = self.open_stream(function, options)?;
        imap::imap(ends, inputs.into_iter(), chunk_size.min(buffer_size), spread)
    }
}
