// SPDX-License-Identifier: GPL-2.0

//! `softgpu surface`: a window that the driver draws, and a Wayland compositor shows.
//!
//! The buffers of the window are memory that is shared with the compositor, as any program does that
//! draws with the processor. Here the driver draws there, by way of udmabuf. When the compositor says
//! that it has presented the window, the buffer that vkms scans out is compared with what it must be.

use crate::frames::{colors, wait};
use crate::kernel::dma_buf::{shared_memory, udmabuf, Mapping, PAGE};
use crate::kernel::drm::Device;
use crate::kernel::sync_file::{is_readable, PATIENCE};
use crate::ktap::{fail, Failure, TestResult};
use crate::softgpu::channel::Channel;
use crate::softgpu::job::{fill, work};
use crate::softgpu::uapi::{BufferUse, Command};
use std::fmt::Display;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};
use wayland_client::globals::{registry_queue_init, GlobalListContents};
use wayland_client::protocol::{
    wl_buffer, wl_compositor, wl_registry, wl_shm, wl_shm_pool, wl_surface,
};
use wayland_client::{delegate_noop, Connection, Dispatch, EventQueue, Proxy, QueueHandle};
use wayland_protocols::wp::presentation_time::client::{wp_presentation, wp_presentation_feedback};
use wayland_protocols::xdg::shell::client::{xdg_surface, xdg_toplevel, xdg_wm_base};

/// For how long the driver works on a picture before that changes.
const WORK: Duration = Duration::from_millis(60);

/// What the compositor has said.
#[derive(Default)]
struct State {
    /// The size that the window must have.
    size: Option<(i32, i32)>,
    is_configured: bool,
    /// Of which of the buffers it makes no use.
    is_free: [bool; 2],
    /// Whether the window is on the screen, as it was committed last.
    presented: Option<bool>,
}

/// What is done when an object with some data has an event.
macro_rules! on {
    ($object:ty, $data:ty, |$state:pat_param, $it:pat_param, $its:pat_param, $event:pat_param| $act:block) => {
        impl Dispatch<$object, $data> for State {
            fn event(
                $state: &mut Self,
                $it: &$object,
                $event: <$object as Proxy>::Event,
                $its: &$data,
                _: &Connection,
                _: &QueueHandle<Self>,
            ) {
                $act
            }
        }
    };
}

on!(wl_registry::WlRegistry, GlobalListContents, |_, _, _, _| {});

on!(xdg_wm_base::XdgWmBase, (), |_, base, _, event| {
    if let xdg_wm_base::Event::Ping { serial } = event {
        base.pong(serial);
    }
});

on!(xdg_surface::XdgSurface, (), |state, surface, _, event| {
    if let xdg_surface::Event::Configure { serial } = event {
        surface.ack_configure(serial);
        state.is_configured = true;
    }
});

on!(xdg_toplevel::XdgToplevel, (), |state, _, _, event| {
    if let xdg_toplevel::Event::Configure { width, height, .. } = event {
        state.size = Some((width, height));
    }
});

on!(wl_buffer::WlBuffer, usize, |state, _, number, event| {
    if let wl_buffer::Event::Release = event {
        state.is_free[*number] = true;
    }
});

on!(
    wp_presentation_feedback::WpPresentationFeedback,
    (),
    |state, _, _, event| {
        match event {
            wp_presentation_feedback::Event::Presented { .. } => state.presented = Some(true),
            wp_presentation_feedback::Event::Discarded => state.presented = Some(false),
            _ => {}
        }
    }
);

delegate_noop!(State: ignore wl_compositor::WlCompositor);
delegate_noop!(State: ignore wl_shm::WlShm);
delegate_noop!(State: ignore wl_shm_pool::WlShmPool);
delegate_noop!(State: ignore wl_surface::WlSurface);
delegate_noop!(State: ignore wp_presentation::WpPresentation);

/// A window that fills the screen.
struct Window {
    connection: Connection,
    queue: EventQueue<State>,
    state: State,
    surface: wl_surface::WlSurface,
    presentation: wp_presentation::WpPresentation,
    shm: wl_shm::WlShm,
}

impl Window {
    fn open() -> TestResult<Self> {
        let connection = match Connection::connect_to_env() {
            Ok(connection) => connection,
            Err(error) => return fail(format_args!("there is no compositor: {error}")),
        };
        let (globals, queue) = match registry_queue_init::<State>(&connection) {
            Ok(found) => found,
            Err(error) => return fail(error),
        };
        let handle = queue.handle();
        fn bind<I: Proxy + 'static>(
            globals: &wayland_client::globals::GlobalList,
            handle: &QueueHandle<State>,
        ) -> TestResult<I>
        where
            State: Dispatch<I, ()>,
        {
            match globals.bind(handle, 1..=1, ()) {
                Ok(found) => Ok(found),
                Err(error) => fail(format_args!("{}: {error}", I::interface().name)),
            }
        }
        let compositor: wl_compositor::WlCompositor = bind(&globals, &handle)?;
        let base: xdg_wm_base::XdgWmBase = bind(&globals, &handle)?;
        let surface = compositor.create_surface(&handle, ());
        let role = base.get_xdg_surface(&surface, &handle, ());
        role.get_toplevel(&handle, ())
            .set_title("softgpu".to_string());
        surface.commit();

        let mut this = Self {
            connection,
            state: State::default(),
            surface,
            presentation: bind(&globals, &handle)?,
            shm: bind(&globals, &handle)?,
            queue,
        };
        this.wait("configured", |state| state.is_configured)?;
        Ok(this)
    }

    /// Waits until the compositor has said something.
    fn wait(&mut self, what: &str, is_said: impl Fn(&State) -> bool) -> TestResult {
        fn failed(error: impl Display) -> Failure {
            Failure::Fail(format!("the compositor: {error}"))
        }
        let end = Instant::now() + PATIENCE;

        while !is_said(&self.state) {
            let dispatched = self.queue.dispatch_pending(&mut self.state);
            if dispatched.map_err(failed)? > 0 {
                continue;
            }
            self.connection.flush().map_err(failed)?;
            let Some(guard) = self.connection.prepare_read() else {
                continue;
            };
            let left = end.saturating_duration_since(Instant::now());
            if !is_readable(guard.connection_fd(), left)? {
                return fail(format_args!("the window is not {what}"));
            }
            guard.read().map_err(failed)?;
        }
        Ok(())
    }

    /// Shows a buffer, and waits until it is on the screen.
    fn show(&mut self, number: usize, buffer: &wl_buffer::WlBuffer) -> TestResult {
        self.state.presented = None;
        self.state.is_free[number] = false;
        self.surface.attach(Some(buffer), 0, 0);
        self.surface.damage(0, 0, i32::MAX, i32::MAX);
        self.presentation
            .feedback(&self.surface, &self.queue.handle(), ());
        self.surface.commit();
        self.wait("presented", |state| state.presented.is_some())?;
        match self.state.presented {
            Some(true) => Ok(()),
            _ => fail("the window was not presented"),
        }
    }
}

/// A picture that is shared with the compositor, and drawn by the driver.
struct Picture {
    buffer: wl_buffer::WlBuffer,
    used: BufferUse,
}

/// Memory for pictures, all of the same size.
struct Pictures {
    width: usize,
    height: usize,
    all: Vec<Picture>,
}

impl Pictures {
    fn new(window: &Window, channel: &Channel, width: i32, height: i32) -> TestResult<Self> {
        let handle = window.queue.handle();
        let len = (4 * width as usize * height as usize).next_multiple_of(PAGE as usize);
        let memory = shared_memory(2 * len)?;
        let pool = window
            .shm
            .create_pool(memory.as_fd(), 2 * len as i32, &handle, ());

        let mut all = Vec::new();
        for number in 0..2 {
            let dma_buf = udmabuf(&memory, number * len, len)?;
            let imported = channel.device().import(&dma_buf)?;
            let format = wl_shm::Format::Xrgb8888;
            all.push(Picture {
                buffer: pool.create_buffer(
                    (number * len) as i32,
                    width,
                    height,
                    4 * width,
                    format,
                    &handle,
                    number,
                ),
                used: imported.writes(),
            });
        }
        Ok(Self {
            width: width as usize,
            height: height as usize,
            all,
        })
    }

    /// The rows of a bar that moves from the top to the bottom.
    fn bar(&self, number: u32) -> std::ops::Range<usize> {
        let height = self.height / 8;
        let top = number as usize * 8 % (self.height - height);
        top..top + height
    }

    /// What a pixel of a row must be.
    fn pixel(&self, number: u32, y: usize) -> u32 {
        let [behind, front] = colors(number);
        match self.bar(number).contains(&y) {
            true => front,
            false => behind,
        }
    }

    /// What draws a picture.
    fn commands(&self, number: u32) -> [Command; 2] {
        let (pitch, bar) = (4 * self.width as u64, self.bar(number));
        let [behind, front] = colors(number);
        [
            fill(0, pitch * self.height as u64, behind),
            Command {
                offset: pitch * bar.start as u64,
                ..fill(0, pitch * bar.len() as u64, front)
            },
        ]
    }

    /// Whether a picture is what the screen shows.
    fn is_shown(&self, screen: &Device, number: u32) -> TestResult<bool> {
        let (memory, pitch) = scanned_out(screen, self.height)?;
        Ok((0..self.height).all(|y| {
            let expected = self.pixel(number, y);
            (0..self.width).all(|x| memory.read(y * pitch + 4 * x) & 0xff_ffff == expected)
        }))
    }
}

/// Maps the buffer that a screen shows, with so many rows, and returns it and how many bytes a row has.
fn scanned_out(screen: &Device, height: usize) -> TestResult<(Mapping, usize)> {
    match screen.scanned_out()? {
        Some(buffer) if buffer.height as usize == height => {
            let pitch = buffer.pitch as usize;
            let memory = screen.map(&buffer, pitch * height)?;
            screen.close(&buffer)?;
            Ok((memory, pitch))
        }
        _ => fail("the screen shows nothing, or something else"),
    }
}

/// Shows so many pictures, and returns how many were wrong.
fn show(frames: u32, waits: bool) -> TestResult<u32> {
    let mut window = Window::open()?;
    let screen = Device::open("vkms")?;
    let channel = Channel::open()?;
    let (width, height) = match window.state.size {
        Some((width, height)) if width > 0 && height > 0 => (width, height),
        other => return fail(format_args!("the window has no size: {other:?}")),
    };
    let pictures = Pictures::new(&window, &channel, width, height)?;
    window.state.is_free = [true; 2];

    let mut wrong = 0;
    for number in 0..frames {
        let index = number as usize % 2;
        let picture = &pictures.all[index];
        window.wait("released", |state| state.is_free[index])?;
        // It changes at the end of the time.
        let used = [picture.used];
        channel.submit(work(&used, &[]).lasting(WORK))?;
        let done = channel.submit(work(&used, &pictures.commands(number)))?;
        if waits {
            wait(&done, "drawn")?;
        }
        window.show(index, &picture.buffer)?;
        wrong += u32::from(!pictures.is_shown(&screen, number)?);
        wait(&done, "drawn")?;
    }
    Ok(wrong)
}

/// Runs both, and prints what came of it. Returns whether that is right.
pub fn run(frames: u32) -> TestResult<bool> {
    let wrong = show(frames, true)?;
    println!("  in a window of a compositor     {wrong:>5} wrong of {frames}");
    let missing = show(frames, false)?;
    println!("  without waiting for the fence   {missing:>5} wrong of {frames}");
    println!("surface: {frames} shown, {wrong} wrong; {missing} wrong of {frames} without fences");
    Ok(wrong == 0 && missing > 0)
}
