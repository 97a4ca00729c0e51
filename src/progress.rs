use std::ops::ControlFlow;

use crate::error::{Error, Result};

/// Hears how far long work has come, and may stop it.
pub struct Progress<'a> {
    listener: Option<&'a mut Listener<'a>>,
}

/// Takes (done, total) of some unit; [`ControlFlow::Break`] stops the work with [`Error::Cancelled`].
pub type Listener<'a> = dyn FnMut(u64, u64) -> ControlFlow<()> + 'a;

impl<'a> Progress<'a> {
    /// Tells `listener`, on the thread of the call.
    pub fn new(listener: &'a mut Listener<'a>) -> Progress<'a> {
        Progress { listener: Some(listener) }
    }

    /// Tells nobody.
    pub fn silent() -> Progress<'a> {
        Progress { listener: None }
    }

    /// Tells how far it is. Errors: [`Error::Cancelled`] where the listener wants no more.
    pub fn tell(&mut self, done: u64, total: u64) -> Result<()> {
        match &mut self.listener {
            Some(listener) => listener(done, total).is_continue().then_some(()).ok_or(Error::Cancelled),
            None => Ok(()),
        }
    }

    /// Runs `work` as one of `parts` equal ones, number `part` from 0 on: what it tells is scaled.
    #[cfg(feature = "lab")]
    pub(crate) fn part<T>(
        &mut self,
        [part, parts]: [u64; 2],
        work: impl FnOnce(&mut Progress) -> Result<T>,
    ) -> Result<T> {
        let mut listener = |done, total: u64| match self.tell(part * total + done, parts * total) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        };
        work(&mut Progress::new(&mut listener))
    }
}
