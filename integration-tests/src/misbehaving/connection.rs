//! One end of a connection, with the rules left to the caller.

use std::{
    collections::VecDeque,
    env,
    error::Error,
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
};

use protocol::{
    envelope,
    frame::Decoder,
    launch,
    limits::MAX_FRAME,
    message::{self, FromWorker, Hello, feature::SHARED_OUTPUT},
};

use super::{SHARED_OUTPUT_VARIABLE, functions, keeping::Kept};

/// A connection to the master, and what is needed to introduce oneself.
pub(super) struct Connection {
    stream: UnixStream,
    decoder: Decoder,
    token: String,
    features: &'static [&'static str],
    /// Bytes that were written.
    written: u64,
    /// The answers that are there to be written, if they are kept.
    shared: Option<Kept>,
    /// Bodies that were received and put back.
    kept: VecDeque<Vec<u8>>,
    last_answer: Option<(u64, u32)>,
}

impl Connection {
    /// Connects to the master that the environment names.
    pub(super) fn open() -> Result<Self, Box<dyn Error>> {
        let variable = |name| {
            env::var(name).map_err(|_| format!("{name} is not set: a master has to start me"))
        };
        let stream = UnixStream::connect(variable(launch::ADDRESS_VARIABLE)?)?;
        let mut decoder = Decoder::new();
        decoder.set_limit(MAX_FRAME);
        let token = variable(launch::TOKEN_VARIABLE)?;
        Ok(Self {
            stream,
            decoder,
            token,
            features: &[],
            written: 0,
            shared: None,
            kept: VecDeque::new(),
            last_answer: None,
        })
    }

    /// The same connection of a worker that announces features, for itself and its functions.
    pub(super) fn announcing(self, features: &'static [&'static str]) -> Self {
        Self { features, ..self }
    }

    /// The socket, for another thread to look at.
    pub(super) fn try_clone(&self) -> std::io::Result<UnixStream> {
        self.stream.try_clone()
    }

    /// A hello that a master has every reason to welcome.
    pub(super) fn hello(&self) -> Hello {
        let keeps = env::var(SHARED_OUTPUT_VARIABLE).is_ok_and(|value| value == "on");
        let keeps = keeps.then_some(SHARED_OUTPUT).filter(|name| !self.features.contains(name));
        Hello {
            token: self.token.clone(),
            oldest: 1,
            newest: 1,
            features: self.features.iter().copied().chain(keeps).map(String::from).collect(),
            name: "misbehaving-worker".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            functions: functions::descriptions(self.features),
        }
    }

    /// Keeps answers at this place from now on.
    pub(super) fn share(&mut self, place: &message::SharedOutput) -> Result<(), Box<dyn Error>> {
        self.shared = Some(Kept::open(place, self.written)?);
        Ok(())
    }

    /// The answers that are kept.
    pub(super) fn shared(&mut self) -> Result<&mut Kept, Box<dyn Error>> {
        Ok(self.shared.as_mut().ok_or("no shared output was agreed on")?)
    }

    /// Keeps an answer, or sends it if none is kept.
    pub(super) fn answer(
        &mut self,
        message: &FromWorker,
        payload: &[u8],
    ) -> Result<(), Box<dyn Error>> {
        match (&mut self.shared, message) {
            (Some(shared), &FromWorker::Result { id, item }) => {
                self.last_answer = Some((id, item));
                Ok(shared.append(&frame(message, payload)?)?)
            }
            _ => self.send(message, payload),
        }
    }

    /// Writes what is kept.
    pub(super) fn flush(&mut self) -> Result<(), Box<dyn Error>> {
        if let Some(shared) = self.shared.as_mut().filter(|shared| !shared.frames().is_empty()) {
            self.stream.write_all(shared.frames())?;
            self.written += shared.frames().len() as u64;
            shared.empty(self.written)?;
        }
        Ok(())
    }

    /// Sends one frame.
    pub(super) fn send(
        &mut self,
        message: &FromWorker,
        payload: &[u8],
    ) -> Result<(), Box<dyn Error>> {
        if let FromWorker::Result { id, item } | FromWorker::Error { id, item, .. } = *message {
            self.last_answer = Some((id, item));
        }
        self.send_bytes(&frame(message, payload)?)
    }

    /// The id and the item of the answer that was sent last.
    pub(super) fn last_answer(&self) -> Result<(u64, u32), Box<dyn Error>> {
        Ok(self.last_answer.ok_or("nothing was answered yet")?)
    }

    /// Sends bytes as they are.
    pub(super) fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), Box<dyn Error>> {
        self.flush()?;
        self.stream.write_all(bytes)?;
        self.written += bytes.len() as u64;
        if let Some(shared) = &mut self.shared {
            shared.empty(self.written)?;
        }
        Ok(())
    }

    /// The body of the next frame; `None` when the master has closed the connection.
    pub(super) fn receive(&mut self) -> Result<Option<Vec<u8>>, Box<dyn Error>> {
        if let Some(body) = self.kept.pop_front() {
            return Ok(Some(body));
        }
        loop {
            if let Some(body) = self.decoder.next_frame()? {
                return Ok(Some(body.to_vec()));
            }
            self.flush()?;
            let count = self.stream.read(self.decoder.spare())?;
            if count == 0 {
                return Ok(None);
            }
            self.decoder.commit(count);
        }
    }

    /// Lets these bodies be received again, before all others and in this order.
    pub(super) fn put_back(&mut self, bodies: Vec<Vec<u8>>) {
        for body in bodies.into_iter().rev() {
            self.kept.push_front(body);
        }
    }

    /// Closes both directions and keeps the process.
    pub(super) fn shut_down(&self) -> Result<(), Box<dyn Error>> {
        Ok(self.stream.shutdown(std::net::Shutdown::Both)?)
    }

    /// A second handle to the socket, to be left to another process.
    pub(super) fn duplicate(&self) -> Result<UnixStream, Box<dyn Error>> {
        Ok(self.stream.try_clone()?)
    }
}

/// A message as a frame.
pub(super) fn frame(message: &FromWorker, payload: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut bytes = Vec::new();
    envelope::append_frame(&mut bytes, message, payload)?;
    Ok(bytes)
}

/// A frame around bytes that need not be a message.
pub(super) fn raw_frame(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes(), body].concat()
}
