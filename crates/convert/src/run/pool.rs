use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::run::buffers::Buffers;

/// Bounds the threads that searches share in this process; they are apart from those of
/// [`Job::threads`](crate::run::Job), which wait for them.
///
/// The first call counts, and none once a search has run: what is there keeps its size, which changes no
/// result.
pub fn limit_search_threads(threads: NonZeroUsize) {
    // The pool of the process is made once; asked again, it says so, and keeps its size.
    let _ = rayon::ThreadPoolBuilder::new().num_threads(threads.get()).build_global();
}

/// Maps items on several threads and returns the results in the items' order.
///
/// Items are taken in order. After the first error no new item is begun; of several errors the
/// one of the earliest item is returned.
///
/// `map` also gets the buffers of its thread.
pub(crate) fn map_in_order<T: Sync, R: Send, E: Send>(
    items: &[T],
    threads: NonZeroUsize,
    map: impl Fn(&T, &mut Buffers) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let next = AtomicUsize::new(0);
    let has_failed = AtomicBool::new(false);
    let results = Mutex::new(Vec::with_capacity(items.len()));
    // Not rayon's threads: these wait for files, and for searches, which run on rayon's.
    std::thread::scope(|scope| {
        for _ in 0..threads.get().min(items.len()) {
            scope.spawn(|| {
                let mut buffers = Buffers::default();
                // Relaxed, since nothing else is passed along: a thread that sees it late does one
                // more item.
                while !has_failed.load(Ordering::Relaxed) {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(index) else { break };
                    let result = map(item, &mut buffers);
                    has_failed.fetch_or(result.is_err(), Ordering::Relaxed);
                    results
                        .lock()
                        .expect("no thread panics while holding it")
                        .push((index, result));
                }
            });
        }
    });
    let mut results = results.into_inner().expect("no thread panics while holding it");
    // Indices are given out in order, and each thread finishes the one that it has: all items before one
    // that failed are here, so that `collect` meets the earliest error first, however many threads there
    // are.
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_the_order_of_the_items() {
        let items: Vec<u32> = (0..100).collect();
        for threads in [1, 2, 8, 300] {
            let threads = NonZeroUsize::new(threads).unwrap();
            let doubled = map_in_order(&items, threads, |item, _| Ok::<_, ()>(item * 2)).unwrap();
            assert_eq!(doubled, items.iter().map(|item| item * 2).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_earliest_error_is_returned() {
        let items = [1, 2, 3, 4];
        let result =
            map_in_order(
                &items,
                NonZeroUsize::MIN,
                |&item, _| if item < 3 { Ok(item) } else { Err(item) },
            );
        assert_eq!(result, Err(3));
    }
}
