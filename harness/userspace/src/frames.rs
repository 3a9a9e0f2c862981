// SPDX-License-Identifier: GPL-2.0

//! `softgpu frames`: an animation that the driver renders, and vkms shows.
//!
//! Each frame is rendered by two queues, one after the other, into a buffer of the screen. It is
//! committed while they still work on it, and vkms captures what it shows. A frame that is shown too
//! early, or that the second queue has begun too early, is a wrong picture.

use crate::kernel::dma_buf::Mapping;
use crate::kernel::drm::{self, Buffer, Commit, Device};
use crate::kernel::screen::{in_fence_fd, Screen};
use crate::kernel::sync_file::{OutFence, SyncFile};
use crate::kernel::trace;
use crate::ktap::{fail, TestResult};
use crate::softgpu::channel::Channel;
use crate::softgpu::job::{blend, blended, copy, fill, sync_file, work};
use crate::softgpu::uapi::{self, BufferUse, Command};
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

const WIDTH: u32 = 96;
const HEIGHT: u32 = 64;
/// How many pictures there are in a second.
const RATE: u32 = 250;
/// For how long each queue works on a frame, besides what its commands take.
const WORK: Duration = Duration::from_millis(2);

/// The bar that moves from left to right, and one that it is blended with.
const BAR: u32 = 16;
const ROWS: std::ops::Range<u32> = 8..40;
const BLENDED: std::ops::Range<u32> = 24..40;
const ALPHA: u32 = 96;

/// What is recorded of a frame: its fences, those who wait for them, and who does the work.
const EVENTS: [&str; 5] = [
    "dma_fence",
    "workqueue/workqueue_execute_start",
    "workqueue/workqueue_execute_end",
    "timer/hrtimer_expire_entry",
    "drm",
];

/// How those are told of each other who render a frame and who show it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Sync {
    /// Sync_files are passed on.
    Explicit,
    /// The buffers have the fences.
    Implicit,
    /// Not at all: this is to be seen.
    Missing,
}

/// A buffer of the screen, as all have it who use it.
struct Target {
    framebuffer: u32,
    pitch: u64,
    /// The same for both queues.
    uses: [BufferUse; 2],
}

/// What shows the frames, and captures what is shown.
struct Output<'a> {
    commit: Commit<'a>,
    shown: OutFence,
    captured: OutFence,
    memory: Mapping,
    pitch: usize,
}

impl<'a> Output<'a> {
    fn new(screen: &'a Screen) -> TestResult<Self> {
        let device = screen.device();
        let buffer = device.create_buffer(WIDTH, HEIGHT)?;
        let (shown, captured) = (OutFence::new(), OutFence::new());
        let written = (device.framebuffer(&buffer)?, &captured);
        Ok(Self {
            commit: screen.prepare(None, Some(&shown), Some(written))?,
            shown,
            captured,
            memory: device.map(&buffer, (buffer.pitch * HEIGHT) as usize)?,
            pitch: buffer.pitch as usize,
        })
    }

    /// Shows a frame, and waits until it is shown and captured.
    fn show(&mut self, target: &Target, in_fence: Option<&SyncFile>, flags: u32) -> TestResult {
        self.commit.set("FB_ID", target.framebuffer.into());
        self.commit.set("IN_FENCE_FD", in_fence_fd(in_fence));
        self.commit.commit(flags)?;
        let (shown, captured) = (self.shown.take()?, self.captured.take()?);
        wait(&shown, "shown")?;
        wait(&captured, "captured")
    }

    /// What was captured.
    fn pixel(&self, x: u32, y: u32) -> u32 {
        self.memory.read(y as usize * self.pitch + 4 * x as usize) & 0xff_ffff
    }

    /// Whether the frame was captured as it must be.
    fn is_right(&self, number: u32) -> bool {
        (0..HEIGHT).all(|y| (0..WIDTH).all(|x| self.pixel(x, y) == pixel(number, x, y)))
    }
}

/// Waits for what a fence stands for.
pub fn wait(fence: &SyncFile, what: &str) -> TestResult {
    match fence.outcome() {
        Ok(1) => Ok(()),
        other => fail(format_args!("a frame is not {what}: {other:?}")),
    }
}

/// The colors of a frame: behind, and in front.
pub fn colors(number: u32) -> [u32; 2] {
    let behind = number.wrapping_mul(0x9e37_79b1) & 0xff_ffff;
    [behind, behind ^ 0xff_ffff]
}

/// Where the bar is.
fn bar(number: u32) -> u32 {
    number * 4 % (WIDTH - BAR)
}

/// What a frame must be.
fn pixel(number: u32, x: u32, y: u32) -> u32 {
    let [behind, front] = colors(number);

    if !ROWS.contains(&y) || !(bar(number)..bar(number) + BAR).contains(&x) {
        return behind;
    }
    if !BLENDED.contains(&y) {
        return front;
    }
    blended(front, behind, ALPHA)
}

/// Two queues that render frames, and what the second one draws with.
struct Renderer {
    queues: [Channel; 2],
    sprite: Buffer,
    sync: Sync,
}

impl Renderer {
    fn new(sync: Sync) -> io::Result<Self> {
        let queues = [Channel::open()?, Channel::open()?];
        Ok(Self {
            sprite: queues[1].create_buffer(u64::from(4 * BAR))?,
            queues,
            sync,
        })
    }

    /// A buffer of the screen.
    fn target(&self, screen: &Device) -> io::Result<Target> {
        let buffer = screen.create_buffer(WIDTH, HEIGHT)?;
        let dma_buf = screen.export(&buffer)?;
        let flags = match self.sync {
            Sync::Implicit => uapi::BUFFER_WRITE,
            _ => uapi::BUFFER_WRITE | uapi::BUFFER_EXPLICIT,
        };
        let import = |queue: &Channel| -> io::Result<_> {
            let handle = queue.device().import(&dma_buf)?.handle;
            Ok(BufferUse { handle, flags })
        };
        Ok(Target {
            framebuffer: screen.framebuffer(&buffer)?,
            pitch: buffer.pitch.into(),
            uses: [import(&self.queues[0])?, import(&self.queues[1])?],
        })
    }

    /// Begins to render a frame. Returns the fence of that.
    fn render(&self, number: u32, target: &Target) -> io::Result<SyncFile> {
        let [behind, front] = colors(number);
        let all = target.pitch * u64::from(HEIGHT);
        let first = self.queues[0]
            .submit(work(&target.uses[..1], &[fill(0, all, behind)]).lasting(WORK))?;

        let len = u64::from(4 * BAR);
        let mut commands = vec![fill(1, len, front)];
        commands.extend(ROWS.map(|y| Command {
            offset: u64::from(y) * target.pitch + u64::from(4 * bar(number)),
            ..match BLENDED.contains(&y) {
                true => blend(0, 1, len, ALPHA),
                false => copy(0, 1, len),
            }
        }));
        let buffers = [target.uses[1], self.sprite.writes()];
        let after = [sync_file(first.as_fd())];
        let job = work(&buffers, &commands).lasting(WORK);
        self.queues[1].submit(match self.sync {
            Sync::Explicit => job.with(&after),
            _ => job,
        })
    }
}

/// Renders and shows so many frames. Returns how many were wrong.
///
/// If there are to be pictures, prints what the kernel has done for one of the frames, and the first
/// one of the second half that is right, and the first one of these that is wrong: the name, the
/// size, and red, green and blue of each pixel.
fn show(frames: u32, sync: Sync, pictures: bool) -> TestResult<u32> {
    let mode = drm::small_mode(WIDTH as u16, HEIGHT as u16, RATE);
    let screen = Screen::with_mode(Device::open("vkms")?, &mode)?;
    let renderer = Renderer::new(sync)?;
    let targets = [
        renderer.target(screen.device())?,
        renderer.target(screen.device())?,
        renderer.target(screen.device())?,
    ];
    let mut output = Output::new(&screen)?;
    output.show(&targets[0], None, drm::ALLOW_MODESET)?;

    let mut wrong = 0;
    // A wrong picture, and a right one.
    let mut seen = [false; 2];
    for number in 0..frames {
        let target = &targets[number as usize % targets.len()];
        let mut frame = || -> TestResult<_> {
            let done = renderer.render(number, target)?;
            let in_fence = Some(&done).filter(|_| sync == Sync::Explicit);
            output.show(target, in_fence, drm::NONBLOCK)?;
            Ok(done)
        };
        let done = match pictures && sync == Sync::Explicit && number == frames / 2 {
            true => {
                let (done, lines) = trace::record(&EVENTS, frame)?;
                lines.iter().for_each(|line| println!("trace: {line}"));
                done?
            }
            false => frame()?,
        };
        let is_right = output.is_right(number);
        wrong += u32::from(!is_right);
        if pictures
            && number >= frames / 2
            && !std::mem::replace(&mut seen[usize::from(is_right)], true)
        {
            let name = if is_right { "right" } else { "wrong" };
            print!("picture: {sync:?}-{name}-{number} {WIDTH} {HEIGHT} ");
            for y in 0..HEIGHT {
                (0..WIDTH).for_each(|x| print!("{:06x}", output.pixel(x, y)));
            }
            println!();
        }
        // Those who do not wait for each other must not be late for the next frame.
        wait(&done, "rendered")?;
    }
    Ok(wrong)
}

/// Runs all three, and prints what came of it. Returns whether that is right.
pub fn run(frames: u32, pictures: bool) -> TestResult<bool> {
    let explicit = show(frames, Sync::Explicit, pictures)?;
    println!("  with sync_files                 {explicit:>5} wrong of {frames}");
    let implicit = show(frames, Sync::Implicit, pictures)?;
    println!("  with the fences of the buffers  {implicit:>5} wrong of {frames}");
    let missing = show(frames, Sync::Missing, pictures)?;
    println!("  without fences                  {missing:>5} wrong of {frames}");

    let (shown, wrong) = (2 * frames, explicit + implicit);
    println!("frames: {shown} shown, {wrong} wrong; {missing} wrong of {frames} without fences");
    Ok(wrong == 0 && missing > 0)
}
