#!/usr/bin/perl
# SPDX-License-Identifier: GPL-3.0-or-later
# A second engine, in another language and without any of our code: docs/engine.md, "The slot", and Perl's own library.
# It is of the class with a GPU, and draws every preview as one plain colour.
# Usage: tiny_engine.pl NATS_PORT HTTP_PORT; user and password in TINY_USER and TINY_PASSWORD.
use strict;
use warnings;
use Compress::Zlib qw(compress crc32);
use IO::Select;
use IO::Socket::INET;
use JSON::PP;
use POSIX qw(strftime);

my ($nats_port, $http_port) = @ARGV;
my $json = JSON::PP->new->utf8->canonical;
my $nats = IO::Socket::INET->new(PeerAddr => "127.0.0.1:$nats_port", Timeout => 10) or die "no NATS: $!\n";
my $http = IO::Socket::INET->new(LocalAddr => "127.0.0.1:$http_port", Listen => 16, ReuseAddr => 1) or die "no port: $!\n";
my ($buffer, $draining, $busy, $count, $done) = ("", 0, 0, 0, 0);
my $inbox = "_INBOX.tiny.$$";

sub say_to { my $data = join "", @_; while (length $data) { my $n = syswrite($nats, $data) // die "NATS is gone\n"; substr($data, 0, $n, "") } }

sub fill { my $n = sysread($nats, my $data, 65536); die "NATS is gone\n" unless $n; $buffer .= $data }

# The next message of NATS: [subject, reply, headers, data]; undef after so many seconds. Probes are answered meanwhile.
sub next_message {
    my $until = time + shift;
    while (1) {
        if ($buffer =~ s/^(?:PING)\r\n//) { say_to("PONG\r\n"); next }
        if ($buffer =~ s/^(?:INFO [^\r]*|PONG|\+OK)\r\n//) { next }
        if ($buffer =~ /^-ERR [^\r]*/) { die "$&\n" }
        if ($buffer =~ /^(H?)MSG ([^\r]*)\r\n/) {
            my ($with, $start, @words) = ($1, $+[0], split / /, $2);
            my $total = pop @words;
            my $head = $with ? pop @words : 0;
            if (length($buffer) >= $start + $total + 2) {
                my $body = substr($buffer, $start, $total);
                substr($buffer, 0, $start + $total + 2, "");
                return [$words[0], $words[2] // "", substr($body, 0, $head), substr($body, $head)];
            }
        }
        return undef if time >= $until;
        for my $ready (IO::Select->new($nats, $http)->can_read(0.2)) { $ready == $nats ? fill() : probe() }
    }
}

# Asks NATS; [headers, data] of the answer. Whether a GPU is here is answered meanwhile.
sub ask {
    my ($subject, $data, $headers, $seconds) = @_;
    my $to = "$inbox." . ++$count;
    my $head = $headers ? "NATS/1.0\r\n$headers\r\n\r\n" : "";
    say_to($head ? "HPUB $subject $to " . length($head) . " " . length("$head$data") . "\r\n$head$data\r\n"
                 : "PUB $subject $to " . length($data) . "\r\n$data\r\n");
    while (my $got = next_message($seconds // 10)) {
        if ($got->[0] eq "conversion.gpu_here") { say_to("PUB $got->[1] 0\r\n\r\n") if !$draining; next }
        # A job comes under its stream's own subject, and its reply is where it is acknowledged
        return [@{$got}[2, 3], $got->[1]] if $got->[0] eq $to || $got->[0] eq "conversion.gpu_jobs";
    }
    return undef;
}

# GET /healthz and its like, and POST /drain
sub probe {
    my $client = $http->accept or return;
    $client->timeout(2);
    my $request = "";
    while ($request !~ /\r\n\r\n/ && sysread($client, my $data, 4096)) { $request .= $data }
    my ($method, $path) = $request =~ m{^(\w+) (\S+)};
    $draining = 1 if "$method $path" eq "POST /drain";
    my $ready = $draining ? "not ready" : "ready";
    my %answers = (
        "/healthz" => [200, '{"status": "ok"}'],
        "/readyz"  => [$draining ? 503 : 200, "{\"status\": \"$ready\"}"],
        "/drain"   => [$busy ? 503 : 200, "{\"draining\": " . ($draining ? "true" : "false") . ", \"in_flight\": $busy}"],
        "/version" => [200, '{"name": "tiny-engine", "version": "1"}'],
        "/metrics" => [200, "conversion_workers 1\nconversion_workers_busy $busy\ntiny_done_total $done\n"],
    );
    my ($status, $body) = @{$answers{$path // ""} // [404, '{"error": "There is nothing here."}']};
    print {$client} "HTTP/1.1 $status x\r\nContent-Length: " . length($body) . "\r\nConnection: close\r\n\r\n$body";
    close $client;
}

sub stamp { return time + 0 }

sub png {
    my ($width, $height) = @_;
    my $row = "\0" . "\x40\x80\xc0" x $width;
    my $file = "\x89PNG\r\n\x1a\n";
    for (["IHDR", pack("NNC5", $width, $height, 8, 2, 0, 0, 0)], ["IDAT", compress($row x $height)], ["IEND", ""]) {
        my ($kind, $data) = @$_;
        $file .= pack("N", length $data) . $kind . $data . pack("N", crc32("$kind$data"));
    }
    return $file;
}

# The record under an id and its revision; nothing when there is none
sub record {
    my $got = ask("\$JS.API.DIRECT.GET.KV_conversion_operations.\$KV.conversion_operations.$_[0]", "");
    return if !$got || $got->[0] !~ /^Nats-Sequence: (\d+)/mi || !length $got->[1];
    return ($json->decode($got->[1]), $1);
}

# Changes the record unless it is final or somebody else was quicker; whether it did
sub change {
    my ($id, %fields) = @_;
    for (1 .. 5) {
        my ($record, $revision) = record($id) or return 0;
        return 0 if $record->{status} =~ /^(completed|failed|cancelled)$/;
        my $data = $json->encode({%$record, %fields});
        my $got = ask("\$KV.conversion_operations.$id", $data, "Nats-Expected-Last-Subject-Sequence: $revision");
        return 1 if $got && !$json->decode($got->[1])->{error};
    }
    return 0;
}

sub work {
    my ($job, $reply) = @_;
    my $id = $job->{id};
    if (change($id, status => "in_progress", started_at => stamp(), engine => "tiny/1")) {
        my ($source, $number) = ("", 0);
        while (length $source < $job->{source_bytes}) {
            my $got = ask("\$JS.API.DIRECT.GET.CONVERSION_BLOBS.conversion.blobs.$id.source." . $number++, "");
            last if !$got || !length $got->[1];
            $source .= $got->[1];
            say_to("PUB $reply 4\r\n+WPI\r\n");
        }
        if (length $source != $job->{source_bytes}) {
            change($id, status => "failed", completed_at => stamp(), error => "The source file is no longer kept: send it again.");
        } elsif ($job->{output_format} ne "png") {
            change($id, status => "failed", completed_at => stamp(), error => "This engine draws previews only.");
        } else {
            my $result = png(@{$job->{options}}{qw(width height)});
            my ($size, $piece) = (length $result, 0);
            for (my $at = 0; $at < $size; $at += 524288) {
                ask("conversion.blobs.$id.tiny-$$." . $piece++, substr($result, $at, 524288)) or die "not stored\n";
            }
            change($id, status => "completed", completed_at => stamp(), output_bytes => $size, output_key => "tiny-$$",
                   progress => 1, warnings => ["Drawn in one colour."]) and $done++;
        }
        ask("\$JS.API.STREAM.PURGE.CONVERSION_BLOBS", $json->encode({filter => "conversion.blobs.$id.source.*"}));
    }
    ask($reply, "+ACK");
}

$SIG{TERM} = sub { $draining = 1 };
my $login = $json->encode({verbose => JSON::PP::false, headers => JSON::PP::true, no_responders => JSON::PP::true,
                           user => $ENV{TINY_USER}, pass => $ENV{TINY_PASSWORD}, lang => "perl", version => "1", protocol => 1});
say_to("CONNECT $login\r\nSUB $inbox.* 1\r\nSUB conversion.gpu_here 2\r\nPING\r\n");
while (!$draining) {
    my $got = ask("\$JS.API.CONSUMER.MSG.NEXT.CONVERSION_GPU_JOBS.gpu_engines", '{"batch": 1, "expires": 1000000000}', undef, 4) or next;
    next if $got->[0] =~ m{^NATS/1\.0 \d} || !length $got->[1];    # nothing to do, or no queue yet
    $busy = 1;
    work($json->decode($got->[1]), $got->[2]);
    $busy = 0;
}
