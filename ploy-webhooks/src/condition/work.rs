//! The work that one judgement may take, and how it is paid for.
//!
//! The evaluator knows no bounds. So what it evaluates is rewritten beforehand (`check`): where
//! something costs as much as a value is large, the value goes through one of two functions which
//! take its size off what is left, and fail when nothing is. No condition can name them, since no
//! name in CEL begins with an `@`.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock};

use cel::common::types::{CelInt, CelList, CelMap, CelString};
use cel::common::value::{CowVal, Val};
use cel::{Context, Env, ExecutionError, FunctionContext};

/// Pays for a value: `@pay(value)` is the value.
pub(super) const PAY: &str = "@pay";
/// Pays for a loop over a value, each round of which costs so much: `@loop(value, cost)` is the
/// value.
pub(super) const LOOP: &str = "@loop";

/// The bytes of text that cost as much as a value.
const STEP_BYTES: usize = 16;

/// What a text of so many bytes costs.
pub(super) const fn text_cost(bytes: usize) -> u64 {
    1 + (bytes / STEP_BYTES) as u64
}

type Function = Box<
    dyn for<'context, 'call> Fn(
            &mut FunctionContext<'context, 'call>,
        ) -> Result<CowVal<'context, 'call>, ExecutionError>
        + Send
        + Sync,
>;

/// The functions that conditions have.
pub(super) fn environment() -> Arc<Env> {
    static ENVIRONMENT: LazyLock<Arc<Env>> =
        LazyLock::new(|| Arc::new(Env::stdlib().with_optional_support(false)));
    Arc::clone(&ENVIRONMENT)
}

/// What is left of the work that one judgement may take.
#[derive(Clone, Debug)]
pub(super) struct Work {
    // Shared with the functions, which live as long as they like. It is only ever used by one
    // thread.
    left: Arc<AtomicI64>,
}

impl Work {
    pub(super) fn new(steps: u32) -> Self {
        Self { left: Arc::new(AtomicI64::new(steps.into())) }
    }

    /// Whether more was asked for than there was.
    pub(super) fn is_exhausted(&self) -> bool {
        self.left.load(Ordering::Relaxed) < 0
    }

    /// Takes so many steps off what is left; `false` when there are not so many.
    pub(super) fn spend(&self, steps: u64) -> bool {
        let steps = i64::try_from(steps).unwrap_or(i64::MAX);
        let left = self.left.load(Ordering::Relaxed).saturating_sub(steps);
        self.left.store(left, Ordering::Relaxed);
        left >= 0
    }

    /// Lets expressions of that context pay.
    pub(super) fn register(&self, context: &mut Context<'_, '_>) {
        for name in [PAY, LOOP] {
            let work = self.clone();
            let function: Function = Box::new(move |call| work.pay(call));
            context.add_function(name, function).expect("CEL has no function of that name");
        }
    }

    fn pay<'context, 'call>(
        &self,
        call: &mut FunctionContext<'context, 'call>,
    ) -> Result<CowVal<'context, 'call>, ExecutionError> {
        let round = call.args.get(1).and_then(|cost| cost.downcast_ref::<CelInt>());
        let round = round.map_or(0, |cost| u64::try_from(*cost.inner()).unwrap_or(u64::MAX));
        let value = call.args.swap_remove(0);
        let rounds = value.as_sizer().map_or(0, |value| *value.size().inner());
        let rounds = u64::try_from(rounds).unwrap_or(u64::MAX);
        let is_paid = self.spend(round.saturating_mul(rounds)) && self.weigh(value.as_ref());
        if is_paid { Ok(value) } else { Err(ExecutionError::function_error(PAY, "too much work")) }
    }

    /// Spends what a value is large; stops at what is left, so that weighing costs no more.
    fn weigh(&self, value: &(dyn Val + '_)) -> bool {
        if let Some(text) = value.downcast_ref::<CelString<'_>>() {
            self.spend(text_cost(text.inner().len()))
        } else if let Some(list) = value.downcast_ref::<CelList<'_>>() {
            self.spend(1) && list.inner().iter().all(|item| self.weigh(item.as_ref()))
        } else if let Some(map) = value.downcast_ref::<CelMap<'_>>() {
            self.spend(1)
                && map
                    .inner()
                    .iter()
                    .all(|(key, value)| self.weigh(key.inner()) && self.weigh(value.as_ref()))
        } else {
            self.spend(1)
        }
    }
}
