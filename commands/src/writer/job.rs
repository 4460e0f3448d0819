//! A command on its way: decided, perhaps more than once, and answered once.

use domain::event::Root;
use tokio::sync::oneshot;

use crate::answer::{CommandError, Done, Failure, Position, Refusal};
use crate::streams::{Cache, Decided, Stop, Streams};

use super::Idempotency;

/// A waiting command, its output type erased.
pub(super) trait Job: Send {
    fn decide(&mut self, cache: &mut Cache) -> Result<Decided, Stop>;
    fn idempotency(&self) -> Option<Idempotency>;
    /// The refusal that the decision ended in, if it did.
    fn refusal(&self) -> Option<&Refusal>;
    /// Counts one more attempt.
    fn again(&mut self) -> u32;
    fn succeed(self: Box<Self>, position: Position);
    fn fail(self: Box<Self>, error: CommandError);
}

pub(super) struct Decision<T, F> {
    decide: F,
    metadata: String,
    idempotency: Option<Idempotency>,
    ending: Option<Ending<T>>,
    reply: Option<Reply<T>>,
    attempts: u32,
}

/// What a decision came to. It is answered when what it saw is known to have landed.
enum Ending<T> {
    Output(T),
    Refused(Box<Refusal>),
    Stale,
}

type Reply<T> = oneshot::Sender<Result<Done<T>, CommandError>>;

impl<T, F> Decision<T, F> {
    pub(super) fn new(decide: F, metadata: String, idempotency: Option<Idempotency>, reply: Reply<T>) -> Self {
        Self { decide, metadata, idempotency, ending: None, reply: Some(reply), attempts: 0 }
    }
}

impl<T, F> Job for Decision<T, F>
where
    T: Send + 'static,
    F: Fn(&mut Streams<'_>) -> Result<T, Stop> + Send + 'static,
{
    fn decide(&mut self, cache: &mut Cache) -> Result<Decided, Stop> {
        let mut streams = Streams::new(cache, infra::clock::now(), &self.metadata, self.attempts > 0);
        match (self.decide)(&mut streams) {
            Ok(output) => {
                self.ending = Some(Ending::Output(output));
                Ok(streams.finish())
            }
            Err(Stop::Refused(refusal)) => {
                self.ending = Some(Ending::Refused(refusal));
                Ok(streams.finish().only_read())
            }
            Err(Stop::Stale) => {
                self.ending = Some(Ending::Stale);
                Ok(streams.finish().only_read())
            }
            Err(stop) => Err(stop),
        }
    }

    fn idempotency(&self) -> Option<Idempotency> {
        // Who is told to look again comes again, with the same key.
        self.idempotency.filter(|_| !matches!(self.ending, Some(Ending::Stale)))
    }

    fn refusal(&self) -> Option<&Refusal> {
        match &self.ending {
            Some(Ending::Refused(refusal)) => Some(refusal),
            _ => None,
        }
    }

    fn again(&mut self) -> u32 {
        self.attempts += 1;
        self.attempts
    }

    fn succeed(mut self: Box<Self>, position: Position) {
        let answer = match self.ending.take() {
            Some(Ending::Output(output)) => Ok(Done { output, position }),
            Some(Ending::Refused(refusal)) => Err(CommandError::Refused(refusal, position)),
            Some(Ending::Stale) => Err(CommandError::Stale),
            None => Err(CommandError::Internal(Failure::Stopped)),
        };
        self.send(answer);
    }

    fn fail(mut self: Box<Self>, error: CommandError) {
        self.send(Err(error));
    }
}

/// A look at an aggregate as the cache has it.
pub(super) struct Glimpse<A> {
    pub(super) id: String,
    pub(super) reply: Option<oneshot::Sender<Option<A>>>,
}

impl<A: Root + 'static> Job for Glimpse<A> {
    fn decide(&mut self, cache: &mut Cache) -> Result<Decided, Stop> {
        if let Some(reply) = self.reply.take() {
            let _gone = reply.send(cache.peek::<A>(&self.id).cloned());
        }
        Err(Stop::Answered)
    }

    fn idempotency(&self) -> Option<Idempotency> {
        None
    }

    fn refusal(&self) -> Option<&Refusal> {
        None
    }

    fn again(&mut self) -> u32 {
        0
    }

    fn succeed(self: Box<Self>, _position: Position) {}

    fn fail(self: Box<Self>, _error: CommandError) {}
}

impl<T, F> Decision<T, F> {
    fn send(&mut self, answer: Result<Done<T>, CommandError>) {
        if let Some(reply) = self.reply.take() {
            // The caller may have given up; what landed has landed all the same.
            let _gone = reply.send(answer);
        }
    }
}
