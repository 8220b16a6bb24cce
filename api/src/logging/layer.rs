//! From `tracing` events to lines on standard error.

use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::LogFormat;
use super::fold::{Fold, Written};
use super::line::{Line, Words};
use crate::shapes::Time;

/// Writes events as lines, folded.
pub(super) struct Lines {
    shared: Arc<Shared>,
}

struct Shared {
    format: LogFormat,
    state: Mutex<State>,
    /// Rings when a count has begun, or at the end.
    bell: Condvar,
}

struct State {
    fold: Fold,
    sink: Box<dyn Write + Send>,
    ended: bool,
}

/// Ends logging when it is dropped: a count that was still open is written.
#[must_use = "dropping the guard ends the counting of repeated messages"]
pub struct LogGuard {
    shared: Arc<Shared>,
    counter: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for LogGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogGuard").finish_non_exhaustive()
    }
}

/// Lines on standard error.
pub(super) fn stderr(format: LogFormat) -> (Lines, LogGuard) {
    lines(format, Box::new(std::io::stderr()))
}

fn lines(format: LogFormat, sink: Box<dyn Write + Send>) -> (Lines, LogGuard) {
    let state = Mutex::new(State { fold: Fold::default(), sink, ended: false });
    let shared = Arc::new(Shared { format, state, bell: Condvar::new() });
    let counting = shared.clone();
    let counter = std::thread::Builder::new().name("log-counter".into()).stack_size(64 << 10).spawn(move || counting.count());
    (Lines { shared: shared.clone() }, LogGuard { shared, counter: counter.ok() })
}

impl Shared {
    /// A thread that panicked while it logged has at worst left half a line: the others log on.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, line: Line) {
        let mut state = self.state();
        let written = state.fold.line(Instant::now(), line);
        self.write(&mut state, written);
        if state.fold.due().is_some() {
            self.bell.notify_one();
        }
    }

    /// A log that cannot be written must not stop the hub.
    fn write(&self, state: &mut State, written: impl IntoIterator<Item = Written>) {
        for Written { line, repeated } in written {
            let _ = state.sink.write_all(line.write(self.format, repeated).as_bytes());
        }
    }

    /// Writes counts when they are due; sleeps while there are none.
    fn count(&self) {
        let mut state = self.state();
        while !state.ended {
            state = match state.fold.due() {
                None => self.bell.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(due) => {
                    let left = due.saturating_duration_since(Instant::now());
                    self.bell.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
            let counted = state.fold.tick(Instant::now());
            self.write(&mut state, counted);
        }
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        {
            let mut state = self.shared.state();
            state.ended = true;
            let counted = state.fold.flush();
            self.shared.write(&mut state, counted);
        }
        self.shared.bell.notify_one();
        if let Some(counter) = self.counter.take() {
            let _ = counter.join();
        }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Lines {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut words = Words::default();
            attributes.record(&mut words);
            span.extensions_mut().insert(words);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(words) = span.extensions_mut().get_mut::<Words>()
        {
            values.record(words);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut said = Words::default();
        event.record(&mut said);
        let mut fields = Vec::new();
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(words) = span.extensions().get::<Words>() {
                fields.extend(words.fields.iter().cloned());
            }
        }
        fields.append(&mut said.fields);
        let about = event.metadata();
        self.shared.take(Line { at: Time::now(), level: *about.level(), target: about.target(), message: said.message, fields });
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What is written while `work` runs, without times.
    fn logged(work: impl FnOnce()) -> Vec<String> {
        let sink = Sink::default();
        let (layer, guard) = lines(LogFormat::Text, Box::new(sink.clone()));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), work);
        drop(guard);
        let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| line.split_once(' ').unwrap().1.trim_start().replace("api::logging::layer::", "")).collect()
    }

    #[test]
    fn events_carry_the_fields_of_their_spans() {
        let lines = logged(|| {
            let _span = tracing::info_span!("session", node = "lyon").entered();
            tracing::warn!(attempt = 2, "link down");
        });
        assert_eq!(lines, ["WARN tests: link down node=lyon attempt=2"]);
    }

    #[test]
    fn repeats_are_counted_and_the_last_count_is_not_lost() {
        let lines = logged(|| {
            for _ in 0..3 {
                tracing::info!("refused");
            }
            tracing::info!("up");
            tracing::info!("up");
        });
        assert_eq!(lines, ["INFO tests: refused", "INFO tests: refused (2 times more)", "INFO tests: up", "INFO tests: up (once more)"]);
    }
}
