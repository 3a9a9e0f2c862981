// SPDX-License-Identifier: GPL-2.0

//! Clients: the open files of the device, and what small ioctls do with untrusted arguments.

use crate::{
    channel::Channel,
    sync::reserve_fd,
    uapi::{
        self,
        MAX_CHANNELS, //
    },
    user_queue::{
        Request,
        UserQueue, //
    },
    work::WorkHandles,
    SoftGpu, //
};
use kernel::{
    dma_fence::SyncFile,
    drm,
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed, //
        },
        Arc,
        Mutex, //
    },
    time::Delta, //
};

/// The channels of a client.
struct Channels {
    /// By their numbers. The first one is there until the client or the device goes.
    open: [Option<Arc<Channel>>; MAX_CHANNELS as usize],
    /// For how many nanoseconds the engines of closed channels were busy.
    closed_busy: u64,
}

impl Channels {
    fn get(&self, number: usize) -> Result<&Arc<Channel>> {
        let channel = self.open.get(number);

        channel.and_then(Option::as_ref).ok_or(ENOENT)
    }
}

/// The queues of a client.
#[pin_data]
pub(crate) struct Queues {
    #[pin]
    channels: Mutex<Channels>,
    pub(crate) user_queue: Arc<UserQueue>,
    /// Whether the client cannot submit any more jobs to its channels, as one has hung.
    is_banned: Arc<Atomic<bool>>,
}

impl Queues {
    fn new(work: &WorkHandles) -> Result<Arc<Self>> {
        let is_banned = Arc::new(Atomic::new(false), GFP_KERNEL)?;
        let user_queue = UserQueue::new()?;
        let mut open = [const { None }; MAX_CHANNELS as usize];
        open[0] = Some(Channel::open(work, &is_banned)?);

        Arc::pin_init(
            pin_init!(Self {
                channels <- new_mutex!(Channels {
                    open,
                    closed_busy: 0,
                }, "Queues::channels"),
                user_queue,
                is_banned,
            }),
            GFP_KERNEL,
        )
    }

    /// Cancels all that is pending. Nothing can be submitted to the channels any more.
    fn close(&self) {
        for number in 0..MAX_CHANNELS as usize {
            let _ = self.close_channel(number);
        }
        self.user_queue.reset();
    }

    fn close_channel(&self, number: usize) -> Result {
        let channel = self.channels.lock().get(number)?.clone();
        // From here on nothing can be submitted to it.
        channel.close();

        let mut channels = self.channels.lock();
        // Somebody else may have closed it, too.
        if channels
            .get(number)
            .is_ok_and(|open| Arc::ptr_eq(open, &channel))
        {
            channels.open[number] = None;
            channels.closed_busy += channel.engine.busy();
        }
        Ok(())
    }

    /// Returns for how many nanoseconds the engines were busy, all together.
    pub(crate) fn busy(&self) -> u64 {
        let channels = self.channels.lock();
        let open = channels.open.iter().flatten();

        open.map(|channel| channel.engine.busy()).sum::<u64>() + channels.closed_busy
    }
}

/// The open files of the device.
#[pin_data]
pub(crate) struct Clients {
    /// For their work items.
    work: WorkHandles,
    #[pin]
    list: Mutex<KVec<Arc<Queues>>>,
}

impl Clients {
    /// There are none yet.
    pub(crate) fn new(work: WorkHandles) -> impl PinInit<Self> {
        pin_init!(Self {
            work,
            list <- new_mutex!(KVec::new(), "Clients::list"),
        })
    }

    /// Cancels all that is pending, as the device has gone. The files are still open.
    pub(crate) fn close(&self) {
        let list = core::mem::take(&mut *self.list.lock());

        for queues in list {
            queues.close();
        }
    }
}

/// An open file, with channels and a user queue of its own. When the file is closed, or its last
/// owner is killed, all of them are closed.
pub(crate) struct Client {
    clients: Arc<Clients>,
    pub(crate) queues: Arc<Queues>,
}

impl Client {
    /// Returns a client with its user queue and the channel 0.
    pub(crate) fn new(clients: &Arc<Clients>) -> Result<Self> {
        let queues = Queues::new(&clients.work)?;
        // If the rest fails, dropping this closes the channel.
        let this = Self {
            clients: clients.clone(),
            queues,
        };

        let mut list = clients.list.lock();
        list.push(this.queues.clone(), GFP_KERNEL)?;
        drop(list);
        Ok(this)
    }

    /// Returns a channel.
    ///
    /// # Errors
    ///
    /// [`ENOENT`] if there is none with this number.
    pub(crate) fn channel(&self, number: u32) -> Result<Arc<Channel>> {
        Ok(self.queues.channels.lock().get(number as usize)?.clone())
    }

    /// Opens another channel.
    pub(crate) fn create_channel(&self, args: &mut uapi::Channel) -> Result {
        if args.channel != 0 || args.pad != 0 {
            return Err(EINVAL);
        }

        let channel = Channel::open(&self.clients.work, &self.queues.is_banned)?;
        let mut channels = self.queues.channels.lock();
        if let Some(free) = channels.open.iter().position(Option::is_none) {
            channels.open[free] = Some(channel);
            // CAST: There are few.
            args.channel = free as u32;
            return Ok(());
        }
        drop(channels);
        channel.close();
        Err(ENOSPC)
    }

    /// Closes a channel.
    pub(crate) fn destroy_channel(&self, args: &uapi::Channel) -> Result {
        if args.channel == 0 || args.pad != 0 {
            return Err(EINVAL);
        }

        self.queues.close_channel(args.channel as usize)
    }

    /// Prints how much the client uses the device, for fdinfo.
    pub(crate) fn show(file: &drm::File<Self>, printer: &drm::Printer) {
        let busy = file.inner().queues.busy();

        printer.print(fmt!("drm-engine-softgpu:\t{busy} ns\n"));
        printer.print(fmt!("drm-engine-capacity-softgpu:\t{MAX_CHANNELS}\n"));
        printer.print_memory(file);
    }

    /// Checks the arguments of a query and answers it.
    pub(crate) fn query(&self, args: &uapi::Query) -> Result<uapi::Query> {
        if args.flags != 0 {
            return Err(EINVAL);
        }

        let channel = self.channel(args.channel)?;
        let stats = &channel.engine.progress.stats;
        Ok(uapi::Query {
            flags: 0,
            channel: args.channel,
            max_pending: uapi::MAX_PENDING,
            // CAST: This is at most `MAX_PENDING`.
            pending: channel.pending() as u32,
            max_duration_ns: uapi::MAX_DURATION_NS,
            // What is counted first is read last, so that none is more than what it is a part of.
            hung: stats.hung.load(Acquire),
            canceled: stats.canceled.load(Acquire),
            errors: stats.errors.load(Acquire),
            signaled: stats.signaled.load(Acquire),
            submitted: stats.submitted.load(Relaxed),
        })
    }

    /// Checks the arguments of a reset and does it.
    pub(crate) fn reset(&self, args: &uapi::Reset) -> Result {
        if args.flags != 0 {
            return Err(EINVAL);
        }

        self.channel(args.channel)?.reset();
        if args.channel == 0 {
            self.queues.user_queue.reset();
        }
        Ok(())
    }

    /// Checks the arguments of [`uapi::DRM_IOCTL_SOFTGPU_RING`] and does it.
    pub(crate) fn ring(&self, args: &uapi::Ring) -> Result {
        if args.flags != 0
            || !(1..=uapi::MAX_PENDING).contains(&args.count)
            || args.duration_ns > uapi::MAX_DURATION_NS
        {
            return Err(EINVAL);
        }

        // CAST: This is checked above to be small enough.
        let duration = Delta::from_nanos(args.duration_ns as i64);
        self.queues.user_queue.ring(args.count, duration)
    }

    /// Checks the arguments of [`uapi::DRM_IOCTL_SOFTGPU_FENCE`] and does it.
    pub(crate) fn ask(&self, args: &uapi::UserFence) -> Result {
        // Do first what may fail. Dropping it undoes it.
        let request = Request::try_from(args)?;
        let sync_file = SyncFile::new(request.fence())?;
        let reservation = reserve_fd(args.out_fence_ptr)?;

        self.queues.user_queue.ask(request)?;
        sync_file.install(reservation);
        Ok(())
    }
}

impl TryFrom<&uapi::UserFence> for Request {
    type Error = Error;

    fn try_from(args: &uapi::UserFence) -> Result<Self> {
        if args.flags != 0
            || args.pad != 0
            || !(1..=uapi::MAX_DURATION_NS).contains(&args.timeout_ns)
        {
            return Err(EINVAL);
        }

        // CAST: This is checked above to be small enough.
        Self::new(Delta::from_nanos(args.timeout_ns as i64))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let is_ours = |queues: &Arc<Queues>| Arc::ptr_eq(queues, &self.queues);

        let mut list = self.clients.list.lock();
        if let Some(at) = list.iter().position(is_ours) {
            let _ = list.remove(at);
        }
        drop(list);
        self.queues.close();
    }
}

impl drm::file::DriverFile for Client {
    type Driver = SoftGpu;

    fn open(device: &drm::Device<SoftGpu>) -> Result<Pin<KBox<Self>>> {
        Ok(KBox::new(Self::new(device)?, GFP_KERNEL)?.into())
    }
}
