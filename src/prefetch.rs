use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{Builder, JoinHandle};

use crate::error::{Error, Result};

/// Results that wait while the caller works on those before.
const AHEAD: usize = 2;

/// Runs an iterator on a thread of its own, a few items ahead of whoever takes them: the mini-batches of an epoch,
/// prepared while the step before is computed. The items, hence the bits, are those of the iterator.
///
/// It ends after the first error. A panic of the iterator goes on in the caller. Dropped early, it ends the thread
/// after the item in work, and waits for that.
pub struct Prefetch<T> {
    /// `None`: dropped, so that the thread ends.
    items: Option<Receiver<Result<T>>>,
    thread: Option<JoinHandle<()>>,
}

impl<T: Send + 'static> Prefetch<T> {
    /// Starts with `items` at once. Errors: [`Error::Unsupported`] where the system gives no thread.
    pub fn new<I>(items: I) -> Result<Prefetch<T>>
    where
        I: Iterator<Item = Result<T>> + Send + 'static,
    {
        let (to, from) = sync_channel(AHEAD);
        let run = move || {
            for item in items {
                let last = item.is_err();
                if to.send(item).is_err() || last {
                    break;
                }
            }
        };
        let thread = Builder::new().name("tiebreak prefetch".into()).spawn(run);
        let thread =
            thread.map_err(|e| Error::Unsupported(format!("no thread to prepare batches on: {e}")))?;
        Ok(Prefetch { items: Some(from), thread: Some(thread) })
    }
}

impl<T> Iterator for Prefetch<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        if let Ok(item) = self.items.as_ref()?.recv() {
            return Some(item);
        }
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join) {
            resume_unwind(panic);
        }
        None
    }
}

impl<T> Drop for Prefetch<T> {
    fn drop(&mut self) {
        self.items = None;
        // A panic of an iterator whose items nobody wants any more is nobody's.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread::current;

    use super::*;

    #[test]
    fn items_come_in_order_from_another_thread() {
        let items = (0..100).map(|i| Ok((i, current().id())));
        let got: Vec<_> = Prefetch::new(items).unwrap().map(Result::unwrap).collect();
        assert_eq!(got.iter().map(|item| item.0).collect::<Vec<_>>(), (0..100).collect::<Vec<_>>());
        assert!(got.iter().all(|item| item.1 == got[0].1 && item.1 != current().id()));
    }

    #[test]
    fn the_first_error_is_the_last_item() {
        let made = Arc::new(AtomicUsize::new(0));
        let count = made.clone();
        let items = (0..9).map(move |i| {
            count.fetch_add(1, Ordering::Relaxed);
            if i < 3 { Ok(i) } else { Err(Error::Cancelled) }
        });
        let got: Vec<_> = Prefetch::new(items).unwrap().collect();
        assert_eq!(got, [Ok(0), Ok(1), Ok(2), Err(Error::Cancelled)]);
        assert_eq!(made.load(Ordering::Relaxed), 4);
    }

    #[test]
    fn dropped_early_it_ends_its_thread() {
        let made = Arc::new(AtomicUsize::new(0));
        let count = made.clone();
        let mut endless = Prefetch::new((0..).map(move |i| {
            count.fetch_add(1, Ordering::Relaxed);
            Ok(i)
        }))
        .unwrap();
        assert_eq!(endless.next(), Some(Ok(0)));
        drop(endless);
        // The thread has gone, and with it the iterator.
        assert_eq!(Arc::strong_count(&made), 1);
        assert!(made.load(Ordering::Relaxed) <= 1 + AHEAD + 1);
    }

    #[test]
    fn a_panic_goes_on_in_the_caller() {
        let items = (0..3).map(|i| if i < 2 { Ok(i) } else { panic!("number {i}") });
        let mut prefetch = Prefetch::new(items).unwrap();
        assert_eq!([prefetch.next(), prefetch.next()], [Some(Ok(0)), Some(Ok(1))]);
        let panic = catch_unwind(AssertUnwindSafe(|| prefetch.next())).unwrap_err();
        assert_eq!(panic.downcast_ref::<String>().unwrap(), "number 2");
        assert_eq!(prefetch.next(), None);
    }
}
