//! The policy of one definition: every decision and every word a client hears of it, in the worker and in `explain`.
