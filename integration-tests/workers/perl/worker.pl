#!/usr/bin/env perl
# A worker in Perl, written from protocol/SPEC.md and protocol/IMPLEMENTING.md, with nothing but
# what comes with Perl. With --conformance it offers the functions of section 23.
#
# A value that was read is [type, content, encoded bytes]; a value to be sent is encoded bytes.
use strict;
use warnings;
no warnings qw(portable recursion);    # Integers have 64 bits; values may nest.
use Fcntl;
use IO::Poll;
use Socket;
use Time::HiRes;

use constant {
    NIL => "\xc0",
    MAX_BODY => 1 << 30,
    MAX_TEXT => 1 << 20,
    MAX_LEVELS => 512,
    POLLRDHUP => 0x2000,
    EXIT_USAGE => 2,
    EXIT_PROTOCOL => 76,
};

# --- MessagePack ----------------------------------------------------------------------------------

sub pack_uint {
    my ($n) = @_;
    return
          $n < 0x80 ? pack('C', $n)
        : $n < 0x100 ? pack('CC', 0xcc, $n)
        : $n < 0x10000 ? pack('Cn', 0xcd, $n)
        : $n < 0x100000000 ? pack('CN', 0xce, $n)
        : pack('CQ>', 0xcf, $n);
}

sub pack_str {
    my ($bytes) = @_;
    my $length = length $bytes;
    my $head =
          $length < 32 ? pack('C', 0xa0 | $length)
        : $length < 0x100 ? pack('CC', 0xd9, $length)
        : $length < 0x10000 ? pack('Cn', 0xda, $length)
        : pack('CN', 0xdb, $length);
    return $head . $bytes;
}

# Fewer than 16 elements.
sub pack_array { return pack('C', 0x90 | @_) . join '', @_ }

# Fewer than 16 pairs of a name and an encoded value.
sub pack_map {
    my @pairs = @_;
    my $map = pack('C', 0x80 | @pairs / 2);
    while (my ($name, $value) = splice @pairs, 0, 2) { $map .= pack_str($name) . $value }
    return $map;
}

# How values after the fixed forms begin: a type, and how many bytes follow, or the form of their
# length, with as many more as are given. Integers and floats have a form of their own.
my @HEADS = (
    ['nil', 0], undef, ['bool', 0], ['bool', 0],    # c0 to c3
    ['bin', 'C'], ['bin', 'n'], ['bin', 'N'],
    ['ext', 'C', 1], ['ext', 'n', 1], ['ext', 'N', 1],
    ['float', 4, 'f>'], ['float', 8, 'd>'],
    ['int', 1, 'C'], ['int', 2, 'n'], ['int', 4, 'N'], ['int', 8, 'Q>'],
    ['int', 1, 'c'], ['int', 2, 's>'], ['int', 4, 'l>'], ['int', 8, 'q>'],
    ['ext', 2], ['ext', 3], ['ext', 5], ['ext', 9], ['ext', 17],
    ['str', 'C'], ['str', 'n'], ['str', 'N'],
    ['array', 'n'], ['array', 'N'], ['map', 'n'], ['map', 'N'],    # dc to df
);
my %WIDTHS = (C => 1, n => 2, N => 4);

# Reads the value that begins at a place; gives it, and the place behind it. Dies with a text at
# anything malformed. The content of an array is a list of values, that of a map keys and values in
# turn.
sub read_value {
    my ($bytes, $at, $levels) = @_;    # The first is not copied: it is $_[0].
    my $start = $at;
    my $take = sub {
        my ($count) = @_;
        die "a value is cut short\n" if length($_[1]) - $at < $count;
        $at += $count;
        return substr $_[1], $at - $count, $count;
    };
    my $first = ord $take->(1, $_[0]);
    my ($type, $content, $count);
    if ($first < 0x80) { ($type, $content) = ('int', $first) }
    elsif ($first < 0x90) { ($type, $count) = ('map', $first & 15) }
    elsif ($first < 0xa0) { ($type, $count) = ('array', $first & 15) }
    elsif ($first < 0xc0) { ($type, $content) = ('str', $take->($first & 31, $_[0])) }
    elsif ($first >= 0xe0) { ($type, $content) = ('int', $first - 0x100) }
    else {
        my $head = $HEADS[$first - 0xc0] // die "the byte c1 begins no value\n";
        ($type, my ($size, $more)) = @$head;
        if (my $width = $WIDTHS{$size}) {
            $size = unpack($size, $take->($width, $_[0])) + ($more // 0);
            $more = undef;
        }
        if ($type eq 'array' || $type eq 'map') { $count = $size }
        elsif ($type eq 'bool') { $content = $first & 1 }
        else {
            $content = $take->($size, $_[0]);
            $content = unpack $more, $content if defined $more;
        }
    }
    if (defined $count) {
        die "values nest too deep\n" if $levels == 0;
        $count *= 2 if $type eq 'map';
        $content = [];
        while (@$content < $count) {
            (my $element, $at) = read_value($_[0], $at, $levels - 1);
            push @$content, $element;
        }
    }
    return [$type, $content, substr $_[0], $start, $at - $start], $at;
}

# --- Frames ---------------------------------------------------------------------------------------

my $socket;
my $input = '';
my $in_hand = 0;

sub complain { print STDERR "worker.pl: $_[0]\n"; return }

sub give_up {
    my ($text) = @_;
    chomp $text;
    complain("the master broke the protocol: $text");
    close $socket;
    exit EXIT_PROTOCOL;
}

sub is_closed { return IO::Poll::_poll(0, my @polled = (fileno $socket, POLLRDHUP)) > 0 }

# Nobody waits for the item in hand any more: this ends with all that it has started.
sub notice { kill 'KILL', getpgrp == $$ ? -$$ : $$ if $in_hand && is_closed() }

# `undef` if the stream ends before.
sub read_exactly {
    my ($count) = @_;
    while (length $input < $count) {
        my $read = sysread $socket, $input, 1 << 18, length $input;
        next if !defined $read && $!{EINTR};
        return undef unless $read;
    }
    return substr $input, 0, $count, '';
}

sub receive_body {
    my $head = read_exactly(4);
    unless (defined $head) {
        exit 0 if $input eq '';
        give_up('expected the length of a frame; came the end inside of it');
    }
    my $length = unpack 'N', $head;
    give_up("expected a body of 1 to @{[MAX_BODY]} bytes; came the length $length")
        if $length < 1 || $length > MAX_BODY;
    return read_exactly($length) // give_up("expected a body of $length bytes; came the end");
}

sub send_message {
    my ($name, $fields, $payload) = @_;
    my $body = pack_map($name => $fields) . ($payload // '');
    my $frame = pack('N', length $body) . $body;
    my $at = 0;
    while ($at < length $frame) {
        my $written = syswrite $socket, $frame, length($frame) - $at, $at;
        next if !defined $written && $!{EINTR};
        exit 0 unless defined $written;    # The master is gone.
        $at += $written;
    }
}

# --- Messages from a master -----------------------------------------------------------------------

# The fields of messages and of maps in them: a type, where a question mark allows nil, and what
# counts where the field is absent; without that it is required.
my %TABLES = (
    place => { path => ['str'], key => ['u64'], results => ['u64?', undef] },
    range => { offset => ['u64'], length => ['u64'] },
);
my %MESSAGES = (
    welcome => {
        version => ['u32'], features => ['strings', []], slot => ['u32', 0], pool => ['str', ''],
        initializer => ['str?', undef], keywords => ['bool', 0],
        shared_output => ['place?', undef], shared_arguments => ['place?', undef],
    },
    reject => { reason => ['str'] },
    call => {
        id => ['u64'], function => ['str'], items => ['u32', 1], keywords => ['bool', 0],
        last => ['bool', 0], shared => ['range?', undef],
    },
    drain => {},
);

sub describe {
    my ($type, $content) = @{ $_[0] };
    return "a value of type $type" unless $type =~ /^(int|float|str)$/;
    return "the $type `" . substr($content, 0, 40) . '`';
}

# Perl itself takes halves of pairs and more characters than there are.
sub is_utf8 {
    my ($copy) = @_;
    return utf8::decode($copy) && $copy !~ /[\x{d800}-\x{dfff}]|[^\x{0}-\x{10ffff}]/;
}

# The content of a field, if it has this type.
sub content_of {
    my ($field, $type, $value) = @_;
    my ($is, $content) = @$value;
    return undef if $type =~ s/\?$// && $is eq 'nil';
    my $fits = $is eq $type;
    if ($type eq 'u32') { $fits = $is eq 'int' && $content >= 0 && $content <= 0xffffffff }
    elsif ($type eq 'u64') { $fits = $is eq 'int' && $content >= 0 }
    elsif ($type eq 'str') { $fits &&= is_utf8($content) }
    elsif ($type eq 'strings') { $fits = $is eq 'array' }
    elsif ($TABLES{$type}) { $fits = $is eq 'map' }
    give_up("expected `$field` to be of type $type; came " . describe($value)) unless $fits;
    return fields_of($field, $TABLES{$type}, $content) if $TABLES{$type};
    return [map { content_of($field, 'str', $_) } @$content] if $type eq 'strings';
    return $content;
}

# The fields of a table by name, those that are absent too.
sub fields_of {
    my ($name, $table, $content) = @_;
    my (%came, %fields);
    my @pairs = @$content;
    while (my ($key, $value) = splice @pairs, 0, 2) { $came{ $key->[1] } = $value }
    for my $field (keys %$table) {
        my ($type, @default) = @{ $table->{$field} };
        give_up("expected `$field` in `$name`; came none") unless $came{$field} || @default;
        $fields{$field} = $came{$field} ? content_of($field, $type, $came{$field}) : $default[0];
    }
    return \%fields;
}

# Gives up if there is in it what no envelope may hold.
sub check_envelope {
    my ($value) = @_;
    my ($type, $content) = @$value;
    give_up('expected no such thing in an envelope; came ' . describe($value))
        if $type =~ /^(float|bin|ext)$/;
    return unless $type =~ /^(array|map)$/;
    if ($type eq 'map') {
        my %seen;
        for my $key (@$content[grep { $_ % 2 == 0 } 0 .. $#$content]) {
            give_up('expected a string as a key; came ' . describe($key)) if $key->[0] ne 'str';
            give_up("expected each key once; came `$key->[1]` again") if $seen{ $key->[1] }++;
        }
    }
    check_envelope($_) for @$content;
}

# The name of a message, its fields by name, and the payload behind it.
sub receive {
    my $body = receive_body();
    give_up(sprintf 'expected an envelope, which begins with 81; came %02x', ord $body)
        if ord $body != 0x81;
    my ($envelope, $end) = eval { read_value($body, 0, 16) };
    give_up("expected an envelope; came a malformed one: $@") unless $envelope;
    check_envelope($envelope);
    my ($name, $map) = ($envelope->[1][0][1], $envelope->[1][1]);
    my $known = $MESSAGES{$name} // give_up("expected a message of a master; came `$name`");
    give_up("expected the fields of `$name`; came " . describe($map)) if $map->[0] ne 'map';
    return ($name, fields_of($name, $known, $map->[1]), substr $body, $end);
}

# The arguments of each item: positional ones, and the content of the map of keywords, if any.
sub items_of {
    my ($payload, $count, $keywords) = @_;
    give_up('expected at least one item; came 0') if $count < 1;
    my ($at, @items) = (0);
    my $next = sub {
        my ($type) = @_;
        give_up("expected $count items; came " . @items) if $at == length $payload;
        my ($value, $end) = eval { read_value($payload, $at, MAX_LEVELS) };
        give_up("expected arguments; came a malformed value: $@") unless $value;
        give_up("expected arguments as $type; came " . describe($value)) if $value->[0] ne $type;
        $at = $end;
        return $value->[1];
    };
    push @items, [$next->('array'), $keywords ? $next->('map') : []] for 1 .. $count;
    my $rest = length($payload) - $at;
    give_up("expected the end of the frame; came $rest bytes") if $rest;
    return \@items;
}

sub expect_no_payload {
    my ($name, $payload) = @_;
    give_up("expected no payload of `$name`; came @{[length $payload]} bytes") if length $payload;
}

# --- Functions ------------------------------------------------------------------------------------

sub failure { return { kind => $_[0], message => $_[1] } }
sub invalid { return failure('InvalidArguments', "expected $_[0]; came " . describe($_[1])) }

sub text { return $_[0][0] eq 'str' ? $_[0][1] : die invalid('a string', $_[0]) }
sub integer { return $_[0][0] eq 'int' ? $_[0][1] : die invalid('an integer', $_[0]) }
sub number { return $_[0][0] =~ /^(int|float)$/ ? $_[0][1] : die invalid('a number', $_[0]) }

sub pause {
    my $until = Time::HiRes::time() + $_[0];
    # A signal may end a sleep early, and one that comes just before it is noticed only after it.
    while ((my $left = $until - Time::HiRes::time()) > 0) {
        Time::HiRes::sleep($left < 0.1 ? $left : 0.1);
    }
}

my $remembered = NIL;

# Each has the least and the most number of arguments, and gets them as values that were read.
my %FUNCTIONS = (
    square => [1, 1, sub {
        my $n = integer($_[0]);
        die failure('Overflow', "$n squared does not fit 64 bits") if abs $n > 0xffffffff;
        return pack_uint($n * $n);
    }],
);
my %CONFORMANCE = (
    echo => [1, 1, sub { return $_[0][2] }],
    fail => [1, 3, sub {
        my ($message, $kind, $times) = @_;
        die failure($kind ? text($kind) : 'Error', text($message) x ($times ? integer($times) : 1));
    }],
    panic => [1, 1, sub { die failure('Panic', text($_[0])) }],
    sleep => [1, 2, sub { pause(number($_[0])); return $_[1] ? $_[1][2] : NIL }],
    spawn => [1, 1, sub {
        my $seconds = integer($_[0]);
        my $child = fork // die failure('Unable', "cannot fork: $!");
        return pack_uint($child) if $child;
        exec 'sleep', $seconds or kill 'KILL', $$;
    }],
    print => [1, 1, sub {
        my $line = text($_[0]) . "\n";
        print STDOUT $line;
        print STDERR $line;
        return NIL;
    }],
    environment => [1, 1, sub {
        my $value = $ENV{ text($_[0]) };
        return defined $value ? pack_str($value) : NIL;
    }],
    remember => [1, 1, sub { $remembered = $_[0][2]; return NIL }],
    recall => [0, 0, sub { return $remembered }],
    nest => [1, 1, sub {
        my $levels = integer($_[0]);
        die failure('InvalidResult', "$levels levels are too many") if $levels > MAX_LEVELS;
        return $levels ? "\x91" x ($levels - 1) . "\x90" : NIL;
    }],
    repeat => [2, 2, sub {
        my ($text, $times) = (text($_[0]), integer($_[1]));
        die failure('InvalidResult', 'the text does not fit a frame')
            if length($text) * $times > MAX_BODY;
        return pack_str($text x $times);
    }],
    tick => [2, 2, sub {
        my ($times, $seconds) = (integer($_[0]), number($_[1]));
        pause($seconds) for 1 .. $times;
        return pack_uint($times);
    }],
);

# The value of an item, or nothing and the failure.
sub run_item {
    my ($name, $arguments, $keywords) = @_;
    $in_hand = 1;
    exit 0 if is_closed();
    my $value = eval {
        my $function = $FUNCTIONS{$name}
            // die failure('UnknownFunction', "there is no function `$name`");
        my ($least, $most, $code) = @$function;
        die failure('InvalidArguments', "`$name` takes $least to $most, came " . @$arguments)
            if @$arguments < $least || @$arguments > $most;
        die failure('InvalidArguments', "`$name` takes no keyword arguments") if @$keywords;
        my $value = $code->(@$arguments);
        die failure('InvalidResult', 'the result does not fit a frame')
            if length $value > MAX_BODY - 64;
        $value;
    };
    $in_hand = 0;
    return $value if defined $value;
    return (undef, ref $@ eq 'HASH' ? $@ : failure('Error', "$@"));
}

# A text as far as there is room for it, not cut inside of a character; what is not UTF-8 is replaced.
sub shorten {
    my ($text) = @_;
    if (length $text > MAX_TEXT) {
        $text = substr $text, 0, MAX_TEXT;
        $text =~ s/[\xc0-\xff][\x80-\xbf]*\z//;
    }
    return is_utf8($text) ? $text : $text =~ s/[\x80-\xff]/?/gr;
}

sub pack_failure {
    my ($failure) = @_;
    return map { $_ => pack_str(shorten($failure->{$_})) } qw(kind message);
}

# --- The life of a worker -------------------------------------------------------------------------

my $address = delete $ENV{WORKER_ADDRESS};
my $token = delete $ENV{WORKER_TOKEN};
unless (defined $address && defined $token) {
    complain("this is a worker; a master starts it: master map --worker './worker.pl' square 2 3");
    exit EXIT_USAGE;
}
%FUNCTIONS = (%FUNCTIONS, %CONFORMANCE) if grep { $_ eq '--conformance' } @ARGV;
$| = 1;
$SIG{PIPE} = 'IGNORE';
$SIG{IO} = \&notice;

socket $socket, AF_UNIX, SOCK_STREAM, 0 or die "worker.pl: cannot make a socket: $!\n";
unless (connect $socket, sockaddr_un($address)) {
    complain("cannot connect to the master: $!");
    exit EXIT_PROTOCOL;
}
send_message(hello => pack_map(
    token => pack_str($token), oldest => pack_uint(1), newest => pack_uint(1),
    name => pack_str('perl'), version => pack_str('1.0'),
    functions => pack_array(map { pack_map(name => pack_str($_)) } sort keys %FUNCTIONS),
));
# From here on the system signals when something has come, or the other end has closed.
fcntl $socket, F_SETOWN, $$ + 0 or die "worker.pl: cannot own the socket: $!\n";
fcntl $socket, F_SETFL, O_RDWR | O_ASYNC or die "worker.pl: cannot watch the socket: $!\n";

my ($name, $fields, $payload) = receive();
if ($name eq 'reject') {
    expect_no_payload($name, $payload);
    complain("the master refused this worker: $fields->{reason}");
    exit EXIT_PROTOCOL;
}
give_up("expected `welcome`; came `$name`") if $name ne 'welcome';
give_up("expected version 1; came $fields->{version}") if $fields->{version} != 1;
give_up("expected no feature; came `$fields->{features}[0]`") if @{ $fields->{features} };
if (defined $fields->{initializer}) {
    my ($item) = @{ items_of($payload, 1, $fields->{keywords}) };
    my (undef, $failure) = run_item($fields->{initializer}, @$item);
    if ($failure) {
        send_message(initializer_failed => pack_map(pack_failure($failure)));
        exit 1;
    }
}
else { expect_no_payload($name, $payload) }
send_message(ready => pack_map());

while (1) {
    ($name, $fields, $payload) = receive();
    if ($name eq 'drain') {
        expect_no_payload($name, $payload);
        exit 0;
    }
    give_up("expected `call` or `drain`; came `$name`") if $name ne 'call';
    give_up('expected no `shared`, as that feature was not agreed on') if $fields->{shared};
    my $items = items_of($payload, $fields->{items}, $fields->{keywords});
    my $failed = 0;
    for my $number (0 .. $#$items) {
        my ($value, $failure) = run_item($fields->{function}, @{ $items->[$number] });
        my @place = (id => pack_uint($fields->{id}), item => pack_uint($number));
        if ($failure) {
            $failed = 1;
            my $packed = pack_map(pack_failure($failure));
            send_message(error => pack_map(@place, failure => $packed));
        }
        else { send_message(result => pack_map(@place), $value) }
    }
    exit $failed if $fields->{last};
}
