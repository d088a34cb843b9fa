//! `agent serve`.

use tributary_console::{Console, ErrorCode, Failure, FailureContext as _};

use crate::serve::{ServeArgs, serve};

pub(super) fn run(args: &ServeArgs, console: &Console) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .or_fail(ErrorCode::INTERNAL, "the runtime")?;
    runtime.block_on(serve(args, console))
}
