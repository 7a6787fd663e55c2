//! Why a restart came to nothing.

use std::error::Error;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::{fmt, io};

use super::failure::HandoverFailure;
use super::refusal::Refusal;
use crate::os::shortage::WithRemedy;
use crate::text::one_line;

/// Why a restart did not happen; no other process serves in place of this one.
///
/// Its text is complete: what the system said, which is its [`source`](Error::source), is in it.
///
/// ```
/// # async fn example() {
/// if let Err(error) = graceful::restart().await
///     && !error.is_under_way()
/// {
///     eprintln!("still the old version: {error}");
/// }
/// # }
/// ```
#[derive(Clone)]
pub struct RestartError(Arc<RestartErrorKind>);

/// What came between.
#[derive(Debug)]
pub(crate) enum RestartErrorKind {
    /// Nobody could be asked.
    NoLifecycle,
    Refused(Refusal),
    /// This process was told to stop.
    Stopped,
    /// The hook for the hand-over says so.
    Vetoed(String),
    HookTooSlow,
    HookPanicked,
    /// There is not enough of something to prepare for a successor.
    Unprepared(io::Error),
    /// A successor was started, or was to be.
    Failed(HandoverFailure),
}

impl RestartError {
    /// Tells whether another restart is under way, which may succeed yet.
    ///
    /// ```
    /// fn is_worth_a_line(error: &graceful::RestartError) -> bool {
    ///     !error.is_under_way()
    /// }
    /// ```
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        matches!(*self.0, RestartErrorKind::Refused(Refusal::UnderWay))
    }

    /// Tells whether a restart was not even tried, because of what this process is or does: another attempt has the same
    /// end as long as that is so.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let error = graceful::restart().await.unwrap_err();
    /// assert!(error.is_refused(), "there is no lifecycle around this call");
    /// # });
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn is_refused(&self) -> bool {
        matches!(
            *self.0,
            RestartErrorKind::NoLifecycle | RestartErrorKind::Refused(_)
        )
    }
}

impl From<RestartErrorKind> for RestartError {
    fn from(kind: RestartErrorKind) -> Self {
        Self(Arc::new(kind))
    }
}

impl From<Refusal> for RestartError {
    fn from(refusal: Refusal) -> Self {
        RestartErrorKind::Refused(refusal).into()
    }
}

impl fmt::Display for RestartErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLifecycle => f.write_str("there is no lifecycle around this call"),
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Stopped => f.write_str("this process was told to stop meanwhile"),
            Self::Vetoed(reason) => f.write_str(reason),
            Self::HookTooSlow => f.write_str("the hook for the hand-over took too long"),
            Self::HookPanicked => f.write_str("the hook panicked"),
            Self::Unprepared(error) => {
                write!(f, "cannot prepare for a successor: {}", WithRemedy(error))
            }
            Self::Failed(failure) => failure.fmt(f),
        }
    }
}

impl fmt::Display for RestartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A hook or a successor may say anything.
        f.write_str(&one_line(&self.0))
    }
}

impl fmt::Debug for RestartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl PartialEq for RestartError {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_string() == other.0.to_string()
    }
}

impl Eq for RestartError {}

// It never changes, so nobody can find it half done.
impl UnwindSafe for RestartError {}
impl RefUnwindSafe for RestartError {}

impl Error for RestartError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &*self.0 {
            RestartErrorKind::Unprepared(error) => Some(error),
            RestartErrorKind::Failed(failure) => failure.source(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_shareable<T: Send + Sync + Clone + UnwindSafe + RefUnwindSafe>() {}

    #[test]
    fn it_is_small_and_says_what_kind_it_is_of() {
        is_shareable::<RestartError>();
        assert_eq!(size_of::<RestartError>(), size_of::<usize>());
        let under_way = RestartError::from(Refusal::UnderWay);
        assert!(under_way.is_under_way() && under_way.is_refused());
        let vetoed =
            RestartError::from(RestartErrorKind::Vetoed("a migration\nis under way".into()));
        assert!(!vetoed.is_under_way() && !vetoed.is_refused());
        assert_eq!(vetoed.to_string(), "a migration\\nis under way");
        assert_eq!(vetoed, vetoed.clone());
        assert_ne!(vetoed, under_way);
    }

    #[test]
    fn an_error_of_the_system_is_its_source() {
        let too_many = io::Error::from_raw_os_error(24);
        for kind in [
            RestartErrorKind::Unprepared(io::Error::from_raw_os_error(24)),
            RestartErrorKind::Failed(HandoverFailure::Channel(io::Error::from_raw_os_error(24))),
            RestartErrorKind::Failed(HandoverFailure::Start("program".into(), too_many)),
        ] {
            let error = RestartError::from(kind);
            let source = error.source().expect("the system said so");
            let source: &io::Error = source.downcast_ref().unwrap();
            assert_eq!(source.raw_os_error(), Some(24), "{error}");
        }
        assert!(
            RestartError::from(RestartErrorKind::Stopped)
                .source()
                .is_none()
        );
    }
}
