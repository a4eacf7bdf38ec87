//! ipc-channel: two channels between this program and one process; no pool.

use std::process::{Child, Command};

use ipc_channel::ipc::{self, IpcOneShotServer, IpcReceiver, IpcSender};
use peers::{Parameters, bytes, round_trips};
use serde::{Serialize, de::DeserializeOwned};
use serde_bytes::ByteBuf;

type Ends<T> = (IpcSender<T>, IpcReceiver<T>);

fn main() {
    let parameters = Parameters::read();
    let number = |name: &str| parameters.number(name);
    match parameters.workload.as_str() {
        "worker-of-numbers" => serve(parameters.text("server"), |n: u64| n * n),
        "worker-of-bytes" => serve(parameters.text("server"), |bytes: ByteBuf| bytes),
        "round-trip" => {
            let worker = Worker::start("worker-of-numbers");
            round_trips(number("tasks"), |n| {
                worker.tasks.send(n).expect("the worker reads");
                worker.results.recv().expect("a result")
            });
            worker.end();
        }
        "bytes" => {
            let worker = Worker::start("worker-of-bytes");
            bytes(number("size"), |sent| {
                worker.tasks.send(ByteBuf::from(sent)).expect("the worker reads");
                worker.results.recv().expect("a result").into_vec()
            });
            worker.end();
        }
        workload => panic!("no workload {workload}"),
    }
}

struct Worker<T> {
    process: Child,
    tasks: IpcSender<T>,
    results: IpcReceiver<T>,
}

impl<T: Serialize + DeserializeOwned> Worker<T> {
    fn start(workload: &str) -> Self {
        let (server, name) = IpcOneShotServer::<Ends<T>>::new().expect("a server");
        let this = std::env::current_exe().expect("this program");
        let process = Command::new(this).args([workload, &format!("server={name}")]).spawn();
        let process = process.expect("the worker starts");
        let (_, (tasks, results)) = server.accept().expect("the worker connects");
        Self { process, tasks, results }
    }

    fn end(mut self) {
        drop((self.tasks, self.results));
        self.process.wait().expect("it is ours");
    }
}

fn serve<T: Serialize + DeserializeOwned>(server: &str, function: impl Fn(T) -> T) {
    let (task_sender, tasks) = ipc::channel().expect("a channel");
    let (results, result_receiver) = ipc::channel().expect("a channel");
    let connection = IpcSender::connect(server.to_owned()).expect("the server is there");
    connection.send((task_sender, result_receiver)).expect("the server reads");
    while let Ok(task) = tasks.recv() {
        results.send(function(task)).expect("the other side reads");
    }
}
