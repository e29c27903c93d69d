//! The kernel side's rare messages, carried into the sensor's own log by aya-log.

use super::error::LoadError;
use aya::Ebpf;
use aya_log::EbpfLogger;
use log::{Log, Metadata, Record};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The log ring buffer, registered with the runtime.
pub struct KernelLog {
    logger: AsyncFd<Logger>,
}

struct Logger(EbpfLogger<Forward>);

impl AsRawFd for Logger {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl KernelLog {
    /// Takes over the object's log. Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// When the object has no log, or it cannot be registered.
    pub fn new(ebpf: &mut Ebpf) -> Result<Self, LoadError> {
        let logger = EbpfLogger::init_with_logger(ebpf, Forward).map_err(|_| LoadError::Missing("map AYA_LOGS"))?;
        // SAFETY: the descriptor belongs to the logger, which stays inside the AsyncFd until both are dropped.
        let logger = unsafe { AsyncFd::register_with_interest(Logger(logger), Interest::READABLE) }
            .map_err(|error| LoadError::MapMemory { name: "AYA_LOGS", reason: io::Error::from(error) })?;
        Ok(Self { logger })
    }

    /// Waits for messages and hands them on.
    ///
    /// # Errors
    ///
    /// When the runtime shuts down.
    pub async fn forward(&mut self) -> io::Result<()> {
        let mut guard = self.logger.readable_mut().await?;
        guard.get_inner_mut().0.flush();
        guard.clear_ready();
        Ok(())
    }
}

/// Hands messages to `tracing`.
struct Forward;

impl Log for Forward {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        match record.level() {
            log::Level::Error => tracing::error!("kernel side: {}", record.args()),
            log::Level::Warn => tracing::warn!("kernel side: {}", record.args()),
            _ => tracing::info!("kernel side: {}", record.args()),
        }
    }

    fn flush(&self) {}
}
