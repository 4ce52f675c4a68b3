// SPDX-License-Identifier: BSL-1.0
//
// What a connection has received and not yet sent: a list of segments, sent in order by one
// operation at a time.
//
// Two ways to send. start_send() sends the first segment alone. start_gathered_send() runs after a
// whole batch of completions and sends everything that the connection has queued, in one sendmsg
// where there is more than one piece: with small buffers and long messages that is the larger part
// of the speed.
#pragma once

#include "uring_buffers.h"

static inline struct segment* new_segment(struct worker* w) {
    struct segment* s = w->free_segments;
    if (!s) return zeroed(1, sizeof *s);
    w->free_segments = s->next;
    return s;
}

static inline void append_segment(struct worker* w, int fd, char* data, uint32_t length,
                                  int buffer) {
    struct connection* c = &connections[fd];
    struct segment* s = new_segment(w);
    *s = (struct segment){.data = data, .length = length, .buffer = (uint16_t)buffer};
    w->references[buffer]++;
    if (c->tail) {
        c->tail->next = s;
    } else {
        c->head = s;
    }
    c->tail = s;
}

// Drops the first segment, and its buffer with it.
static inline void pop_segment(struct worker* w, struct connection* c) {
    struct segment* s = c->head;
    c->head = s->next;
    if (!c->head) c->tail = NULL;
    drop_reference(w, s->buffer);
    s->next = w->free_segments;
    w->free_segments = s;
}

static inline void consume(struct segment* s, uint32_t length) {
    s->data += length;
    s->length -= length;
}

static inline void submit_send(struct worker* w, int fd) {
    struct connection* c = &connections[fd];
    struct io_uring_sqe* sqe = next_sqe(w);
    io_uring_prep_send(sqe, fd, c->head->data, c->head->length, MSG_NOSIGNAL | MSG_WAITALL);
    sqe->user_data = tag(OP_SEND, fd);
    c->sending = 1;
}

// With -s: sends segments by send(2). Returns true when an sqe has to take over the first segment.
static bool send_by_syscall(struct worker* w, int fd) {
    struct connection* c = &connections[fd];
    while (c->head) {
        ssize_t sent = send(fd, c->head->data, c->head->length, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent != (ssize_t)c->head->length) {
            if (sent > 0) consume(c->head, (uint32_t)sent);
            return true;
        }
        pop_segment(w, c);
    }
    return false;
}

static void start_send(struct worker* w, int fd) {
    struct connection* c = &connections[fd];
    if (!c->head || c->sending) return;
    if (options.send_by_syscall && !send_by_syscall(w, fd)) return;
    submit_send(w, fd);
}

static void start_gathered_send(struct worker* w, int fd) {
    struct connection* c = &connections[fd];
    if (!c->head || c->sending) return;
    if (!c->head->next) {
        submit_send(w, fd);
        return;
    }
    if (!c->gathered) c->gathered = zeroed(1, sizeof *c->gathered);
    struct gathered* g = c->gathered;
    int n = 0;
    for (struct segment* s = c->head; s && n < MAX_IOVECS; s = s->next) {
        g->pieces[n].iov_base = s->data;
        g->pieces[n].iov_len = s->length;
        n++;
    }
    g->message.msg_iov = g->pieces;
    g->message.msg_iovlen = (size_t)n;
    struct io_uring_sqe* sqe = next_sqe(w);
    io_uring_prep_sendmsg(sqe, fd, &g->message, MSG_NOSIGNAL | MSG_WAITALL);
    sqe->user_data = tag(OP_SEND, fd);
    c->sending = 1;
}

// Lists the connection for a gathered send after this batch.
static inline void mark_dirty(struct worker* w, int fd) {
    struct connection* c = &connections[fd];
    if (c->dirty) return;
    c->dirty = 1;
    w->dirty[w->dirty_count++] = fd;
}

static void unlist_dirty(struct worker* w, int fd) {
    for (int i = 0; i < w->dirty_count; i++) {
        if (w->dirty[i] != fd) continue;
        w->dirty[i] = w->dirty[--w->dirty_count];
        return;
    }
}

// Only when neither a recv nor a send of this connection is in flight.
static void close_connection(struct worker* w, int fd) {
    struct connection* c = &connections[fd];
    free(c->gathered);
    if (c->dirty) unlist_dirty(w, fd);
    while (c->head) pop_segment(w, c);
    memset(c, 0, sizeof *c);
    close(fd);
}

// A send has failed. The recv may still be armed: shut the socket down and let the recv's end close
// it, since the descriptor must not be used again before that.
static void abandon_connection(struct worker* w, int fd) {
    struct connection* c = &connections[fd];
    if (c->eof) {
        close_connection(w, fd);
        return;
    }
    while (c->head) pop_segment(w, c);
    shutdown(fd, SHUT_RDWR);
}
