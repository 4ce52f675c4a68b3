// SPDX-License-Identifier: BSL-1.0
// The simulated backend, by its operations alone.
#include "tests/unit/sim_stage.hpp"

#include <array>
#include <vector>

using namespace simulated;

TEST_CASE("sim backend: operations complete in a well-behaved world") {
    Stage stage;
    Endpoint listening;
    listening.fd = stage.listen(stage.server, ip("10.0.0.2", 7000));
    Reading accept(OperationKind::accept, &listening);
    stage.far.submit(accept);
    CHECK(stage.far.ready());
    stage.far.poll();
    CHECK_FALSE(stage.far.ready());
    CHECK(stage.far.in_flight() == 1);

    stage.out.fd = *stage.near.open_stream(AF_INET);
    const Sockaddr to = ip("10.0.0.2", 7000);
    Connecting connect(&stage.out);
    connect.address = to.get();
    connect.address_size = to.size;
    stage.near.submit(connect);
    stage.run();
    CHECK(connect.results == std::vector<int>{0});
    REQUIRE(accept.results.size() == 1);
    CHECK(accept.armed);
    stage.in.fd = accept.results[0];

    Reading recv(OperationKind::recv, &stage.in);
    stage.far.submit(recv);
    const std::vector<std::byte> data = bytes(10'000);
    Sending send = sending(stage.out, data);
    stage.near.submit(send);
    stage.run();
    CHECK(send.results == std::vector<int>{10'000});
    CHECK(recv.received == data);
    CHECK(recv.armed);
    CHECK(stage.near.shutdown_write(stage.out.fd) == 0);
    stage.run();
    CHECK(recv.results.back() == 0);
    CHECK(recv.ends == 1);
    stage.far.cancel(accept);
    stage.far.cancel(accept);
    stage.run();
    CHECK(accept.results.back() == -ECANCELED);
    CHECK(accept.ends == 1);
    CHECK(stage.far.in_flight() == 0);
    CHECK(stage.far.buffers().lent() == 0);
    stage.near.close(stage.out);
    CHECK(stage.out.fd == -1);
    CHECK(stage.far.release(stage.in) > 0);
    CHECK(stage.in.fd == -1);
}

TEST_CASE("sim backend: a number that is no descriptor of the world is an error") {
    Stage stage;
    for (const int fd : {-1, 0, 2, 3, 1 << 30}) {
        Endpoint none;
        none.fd = fd;
        const Sockaddr to = ip("10.0.0.2", 7000);
        Reading accept(OperationKind::accept, &none);
        Reading recv(OperationKind::recv, &none);
        const std::vector<std::byte> data = bytes(10);
        Sending send = sending(none, data);
        Connecting connect(&none);
        connect.address = to.get();
        connect.address_size = to.size;
        for (Operation* operation : std::initializer_list<Operation*>{&accept, &recv, &send, &connect})
            stage.near.submit(*operation);
        stage.near.cancel(recv);
        stage.run();
        CHECK(accept.results == std::vector<int>{-EBADF});
        CHECK(recv.results == std::vector<int>{-ECANCELED});
        CHECK(send.results == std::vector<int>{-EBADF});
        CHECK(connect.results == std::vector<int>{-EBADF});
        std::array<std::byte, 4> into{};
        sockaddr_storage storage{};
        socklen_t size = sizeof storage;
        CHECK(stage.near.try_recv(fd, into) == -EBADF);
        CHECK(stage.near.shutdown_write(fd) == EBADF);
        CHECK(stage.near.connect_now(fd, to.get(), to.size) == EBADF);
        CHECK(stage.near.local_name(fd, storage, size) == EBADF);
        CHECK(stage.near.peer_name(fd, storage, size) == EBADF);
        CHECK(stage.near.accept_now(fd).error().value() == EBADF);
        stage.near.close_unused(fd);
        stage.near.reset_on_close(fd);
        stage.near.close(none);
    }
    CHECK(stage.near.open_stream(AF_PACKET).error().value() == EAFNOSUPPORT);
}

TEST_CASE("sim backend: an empty pool ends a receive, and nothing is lost") {
    Stage stage(1, Mischief::none(), 2);
    stage.join_endpoints();
    stage.send(stage.client, stage.here, 20'000);
    stage.run();
    struct Keeping : Operation {
        using Operation::Operation;
        std::vector<Segment*> kept;
        int last = 0;
    } recv(OperationKind::recv, &stage.in);
    recv.complete = [](Operation& operation, Completion completion) noexcept {
        auto& self = static_cast<Keeping&>(operation);
        self.last = completion.result;
        if (completion.segment) self.kept.push_back(completion.segment);
    };
    std::size_t received = 0;
    while (received < 20'000) {
        stage.far.submit(recv);
        stage.run();
        if (received + 2 * 4096 < 20'000) CHECK(recv.last == -ENOBUFS);
        REQUIRE_FALSE(recv.kept.empty());
        for (Segment* segment : recv.kept) {
            received += segment->size;
            segment->release();
        }
        recv.kept.clear();
        if (recv.armed) stage.far.cancel(recv);
        stage.run();
    }
    CHECK(received == 20'000);
}

TEST_CASE("sim backend: a send that is cancelled says how much has gone") {
    Stage stage;
    stage.join_endpoints();
    const std::vector<std::byte> data = bytes(1 << 20);
    Sending send = sending(stage.out, data);
    stage.near.submit(send);
    stage.run();
    CHECK(send.armed);
    stage.near.cancel(send);
    stage.run();
    CHECK(send.results == std::vector<int>{128 * 1024});
    Sending nothing = sending(stage.out, data);
    stage.near.submit(nothing);
    stage.run();
    stage.near.cancel(nothing);
    stage.run();
    CHECK(nothing.results == std::vector<int>{-ECANCELED});
    Sending nowait = sending(stage.out, data);
    nowait.nowait = true;
    stage.near.submit(nowait);
    stage.run();
    CHECK(nowait.results == std::vector<int>{-EAGAIN});

    // Several pieces, some of them empty.
    stage.recv(stage.server, stage.there);
    stage.run_for(10ms);
    std::array<iovec, 4> pieces = {iovec{nullptr, 0}, iovec{const_cast<std::byte*>(data.data()), 1000},
                                   iovec{nullptr, 0}, iovec{const_cast<std::byte*>(data.data()) + 1000, 2000}};
    msghdr message{};
    message.msg_iov = pieces.data();
    message.msg_iovlen = pieces.size();
    Sending gathered(&stage.out);
    gathered.gathered = true;
    gathered.message = &message;
    gathered.size = 3000;
    gathered.nowait = true;
    stage.near.submit(gathered);
    stage.run();
    CHECK(gathered.results == std::vector<int>{3000});
}

TEST_CASE("sim backend: a cancel takes a while, and what succeeds before it counts") {
    Mischief slow = Mischief::none();
    slow.slow_cancel = 1000;
    slow.beaten_cancel = 500;
    slow.slowest_cancel = 500us;
    unsigned lost = 0;
    unsigned late = 0;
    for (std::uint64_t seed = 1; seed <= 40; ++seed) {
        Stage stage(seed, slow);
        stage.join_endpoints();
        Reading recv(OperationKind::recv, &stage.in);
        stage.far.submit(recv);
        stage.far.poll();
        stage.send(stage.client, stage.here, 100);
        stage.far.cancel(recv);
        stage.far.poll();
        if (recv.armed) ++late;
        stage.run();
        CHECK(recv.ends == 1);
        CHECK(recv.results.back() == -ECANCELED);
        std::array<std::byte, 200> rest{};
        const int left = stage.far.try_recv(stage.there, rest);
        if (!recv.received.empty()) ++lost;
        CHECK((recv.received.size() == 100 ? left == -EAGAIN : left == 100));
    }
    CHECK(late > 30);
    CHECK(lost > 5);
    CHECK(lost < 40);
}

TEST_CASE("sim backend: a killed process's operations end, and the world does not hear of them") {
    Stage stage;
    stage.join_endpoints();
    Reading recv(OperationKind::recv, &stage.in);
    Endpoint listening;
    listening.fd = stage.listener;
    Reading accept(OperationKind::accept, &listening);
    stage.far.submit(recv);
    stage.far.poll();
    stage.far.submit(accept);
    stage.server.kill_process();
    CHECK(stage.far.ready());
    stage.run();
    CHECK(recv.results == std::vector<int>{-ECANCELED});
    CHECK(accept.results == std::vector<int>{-ECANCELED});
    CHECK_FALSE(stage.far.ready());
    // The next process has the same numbers.
    const int fresh = stage.listen(stage.server, ip("10.0.0.2", 7000));
    CHECK(fresh == stage.listener);
    stage.far.close(listening);
    stage.far.close_unused(fresh);
    CHECK(stage.server.is_open(fresh));
    CHECK(stage.far.open_stream(AF_INET).error().value() == ENETDOWN);
    Reading late(OperationKind::recv, &stage.in);
    stage.far.submit(late);
    stage.run();
    CHECK(late.results == std::vector<int>{-ECANCELED});
}

TEST_CASE("sim backend: a wake is seen once, and a wait does not wait") {
    Stage stage;
    CHECK_FALSE(stage.far.ready());
    const Instant before = stage.far.now();
    stage.far.wait(Instant::max());
    CHECK(stage.far.now() == before);
    stage.far.wake();
    CHECK(stage.far.ready());
    stage.far.wait(Instant::max());
    CHECK_FALSE(stage.far.ready());
}
