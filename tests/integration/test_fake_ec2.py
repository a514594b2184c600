# SPDX-License-Identifier: Apache-2.0
"""The EC2 fake is as strict as EC2, and botocore takes it for EC2."""

import base64
import time
import urllib.parse

import botocore.auth
import botocore.awsrequest
import botocore.config
import botocore.credentials
import botocore.exceptions
import botocore.session
import pytest
import urllib3

from fakes.ec2 import KEY, SECRET, Ec2, Image
from fakes.server import Drop


@pytest.fixture
def cloud():
    with Ec2() as running:
        yield running


def client(cloud, service="ec2", **more):
    config = botocore.config.Config(retries={"total_max_attempts": 1}, parameter_validation=False)
    return botocore.session.get_session().create_client(
        service,
        region_name=cloud.region,
        endpoint_url=cloud.url,
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
        config=config,
        **more,
    )


def code(function, **arguments) -> str:
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        function(**arguments)
    return caught.value.response["Error"]["Code"]


def launch_of(cloud, **more) -> dict:
    wanted = {
        "MinCount": 1,
        "MaxCount": 1,
        "ImageId": next(iter(cloud.images)),
        "InstanceType": "m6a.large",
        "SubnetId": next(iter(cloud.subnets)),
        "TagSpecifications": [
            {"ResourceType": kind, "Tags": [{"Key": "peerpod-token", "Value": "t"}]} for kind in ("instance", "volume", "network-interface")
        ],
        **more,
    }
    return {name: value for name, value in wanted.items() if value is not None}


def raw(cloud, **parameters):
    """A signed request of exactly these parameters: (status, body)."""
    body = urllib.parse.urlencode({"Version": "2016-11-15", **parameters}).encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
    request = botocore.awsrequest.AWSRequest("POST", cloud.url + "/", headers, body)
    botocore.auth.SigV4Auth(botocore.credentials.Credentials(KEY, SECRET), "ec2", cloud.region).add_auth(request)
    answer = urllib3.request("POST", cloud.url + "/", body=body, headers=dict(request.headers), retries=False)
    return answer.status, answer.data.decode()


def test_botocore_reads_the_life_of_an_instance(cloud):
    ec2 = client(cloud)
    made = ec2.run_instances(**launch_of(cloud, UserData="#cloud-config\n", CpuOptions={"AmdSevSnp": "enabled"}))["Instances"][0]
    assert made["State"] == {"Code": 0, "Name": "pending"} and made["CpuOptions"]["AmdSevSnp"] == "enabled"
    assert cloud.vms[made["InstanceId"]].user_data == b"#cloud-config\n"
    states = [
        ec2.describe_instances(InstanceIds=[made["InstanceId"]])["Reservations"][0]["Instances"][0]["State"]["Name"] for _ in range(3)
    ]
    assert states == ["pending", "running", "running"]
    assert set(cloud.inventory()) == {"instances", "volumes", "nics"}
    ended = ec2.terminate_instances(InstanceIds=[made["InstanceId"]])["TerminatingInstances"][0]
    assert ended["CurrentState"]["Name"] == "terminated" and cloud.inventory() == {}
    cloud.forget_the_dead()
    assert code(ec2.terminate_instances, InstanceIds=[made["InstanceId"]]) == "InvalidInstanceID.NotFound"


@pytest.mark.parametrize(
    "parameters, expected",
    [
        ({"Action": "RunInstances", "MinCount": "1"}, "MissingParameter"),
        ({"Action": "RunInstances", "MinCount": "one", "MaxCount": "1"}, "InvalidParameterValue"),
        ({"Action": "RunInstances", "MinCount": "1", "MaxCount": "1", "Colour": "red"}, "UnknownParameter"),
        ({"Action": "RunInstances", "MinCount": "1", "MaxCount": "1", "SubnetId.1": "subnet-1"}, "InvalidParameterValue"),
        ({"Action": "RunInstances", "MinCount": "1", "MaxCount": "1", "DryRun": "yes"}, "InvalidParameterValue"),
        ({"Action": "RunInstances", "MinCount": "1", "MaxCount": "1", "CpuOptions.AmdSevSnp": "on"}, "InvalidParameterValue"),
        ({"Action": "DescribeInstances", "InstanceId.2": "i-00000000"}, "InvalidParameterValue"),
        ({"Action": "DescribeInstances", "InstanceId": "i-00000000"}, "InvalidParameterValue"),
        ({"Action": "DescribeInstances", "Filter.1.Name": "colour", "Filter.1.Value.1": "red"}, None),
        ({"Action": "DescribeInstances", "MaxResults": "4"}, "InvalidParameterValue"),
        ({"Action": "DescribeInstances", "Version": "2014-01-01"}, "InvalidParameterValue"),
        ({"Action": "DescribeColours"}, "InvalidAction"),
        ({"Action": "TerminateInstances", "InstanceId.1": ""}, "InvalidInstanceID.Malformed"),
    ],
)
def test_what_the_model_does_not_allow_is_rejected(cloud, parameters, expected):
    cloud.make_volume()
    status, body = raw(cloud, **parameters)
    if expected is None:
        client(cloud).run_instances(**launch_of(cloud))
        status, body = raw(cloud, **parameters)
        expected = "InvalidParameterValue"
    assert f"<Code>{expected}</Code>" in body and status == 400, body


def test_signatures_are_checked(cloud):
    assert code(client(cloud, aws_session_token="x").describe_instances) == "AuthFailure"
    assert urllib3.request("POST", cloud.url + "/", body=b"Action=DescribeInstances&Version=2016-11-15").status == 400
    cloud.clock_offset = 600
    assert code(client(cloud).describe_instances) == "RequestExpired"
    cloud.clock_offset = 0
    cloud.keys[KEY] = (SECRET + "x", None, None)
    assert code(client(cloud).describe_instances) == "SignatureDoesNotMatch"
    cloud.keys[KEY] = (SECRET, None, time.time() - 1)
    assert code(client(cloud).describe_instances) == "ExpiredToken"


def test_a_client_token_is_honoured(cloud):
    ec2, launch = client(cloud), launch_of(cloud, ClientToken="a")
    first = ec2.run_instances(**launch)["Instances"][0]["InstanceId"]
    assert ec2.run_instances(**launch)["Instances"][0]["InstanceId"] == first
    assert code(ec2.run_instances, **{**launch, "InstanceType": "m6a.xlarge"}) == "IdempotentParameterMismatch"
    ec2.terminate_instances(InstanceIds=[first])
    assert ec2.run_instances(**launch)["Instances"][0]["State"]["Name"] == "terminated"
    assert len(cloud.vms) == 1


def test_launches_that_ec2_refuses(cloud):
    ec2 = client(cloud)
    cloud.images["ami-00000000"] = Image("ami-00000000", boot_mode="legacy-bios")
    subnet = next(iter(cloud.subnets))
    two = [{"DeviceIndex": n, "SubnetId": subnet, "AssociatePublicIpAddress": n == 0} for n in range(2)]
    cases = [
        ({"ImageId": "ami-11111111"}, "InvalidAMIID.NotFound"),
        ({"ImageId": "ami-00000000", "CpuOptions": {"AmdSevSnp": "enabled"}}, "InvalidParameterCombination"),
        ({"InstanceType": "t3.large", "CpuOptions": {"AmdSevSnp": "enabled"}}, "InvalidParameterCombination"),
        ({"SubnetId": "subnet-00000000"}, "InvalidSubnetID.NotFound"),
        ({"SecurityGroupIds": ["sg-00000000"]}, "InvalidGroup.NotFound"),
        ({"KeyName": "nobody"}, "InvalidKeyPair.NotFound"),
        ({"UserData": base64.b64encode(b"x" * 16385).decode()[:-4] + "x"}, "InvalidParameterValue"),
        ({"NetworkInterfaces": two}, "InvalidParameterCombination"),
        ({"NetworkInterfaces": two, "SubnetId": None}, "InvalidParameterCombination"),
        ({"LaunchTemplate": {"LaunchTemplateName": "none"}}, "InvalidLaunchTemplateName.NotFoundException"),
        ({"IamInstanceProfile": {"Name": "none"}}, "InvalidParameterValue"),
        ({"DryRun": True}, "DryRunOperation"),
    ]
    for more, expected in cases:
        assert code(ec2.run_instances, **launch_of(cloud, **more)) == expected, more
    cloud.refuse("InsufficientInstanceCapacity", zone=cloud.zones[0], times=1)
    assert code(ec2.run_instances, **launch_of(cloud)) == "InsufficientInstanceCapacity"
    assert cloud.inventory() == {}
    ec2.run_instances(**launch_of(cloud))


def test_new_things_are_hidden_for_some_looks_and_listed_in_pages(cloud):
    ec2 = client(cloud)
    cloud.hidden_looks = 2
    made = ec2.run_instances(**launch_of(cloud))["Instances"][0]["InstanceId"]
    assert code(ec2.describe_instances, InstanceIds=[made]) == "InvalidInstanceID.NotFound"
    assert ec2.describe_instances(Filters=[{"Name": "tag:peerpod-token", "Values": ["t"]}])["Reservations"] == []
    assert ec2.describe_instances(InstanceIds=[made])["Reservations"]
    cloud.hidden_looks = 0
    for _ in range(6):
        ec2.run_instances(**launch_of(cloud))
    pages = [len(page["Reservations"]) for page in ec2.get_paginator("describe_instances").paginate(MaxResults=5)]
    assert pages == [5, 2]
    types = [
        kind["InstanceType"]
        for page in ec2.get_paginator("describe_instance_types").paginate(MaxResults=5)
        for kind in page["InstanceTypes"]
    ]
    assert types == list(cloud.types)
    assert ec2.describe_instance_type_offerings(LocationType="availability-zone")["InstanceTypeOfferings"]


def test_volumes_interfaces_and_addresses_have_their_lives(cloud):
    ec2 = client(cloud)
    vm = ec2.run_instances(**launch_of(cloud))["Instances"][0]
    volume, subnet = cloud.make_volume(), vm["SubnetId"]
    nic = ec2.create_network_interface(SubnetId=subnet, ClientToken="n")["NetworkInterface"]["NetworkInterfaceId"]
    assert ec2.create_network_interface(SubnetId=subnet, ClientToken="n")["NetworkInterface"]["NetworkInterfaceId"] == nic
    attach = {"NetworkInterfaceId": nic, "InstanceId": vm["InstanceId"], "DeviceIndex": 1}
    assert code(ec2.attach_network_interface, **attach) == "IncorrectState"
    assert code(ec2.attach_volume, VolumeId=volume, InstanceId=vm["InstanceId"], Device="/dev/xvdb") == "IncorrectState"
    for _ in range(3):
        ec2.describe_instances(InstanceIds=[vm["InstanceId"]])
    ec2.attach_volume(VolumeId=volume, InstanceId=vm["InstanceId"], Device="/dev/xvdb")
    attachment = ec2.attach_network_interface(**attach)["AttachmentId"]
    assert code(ec2.attach_network_interface, **attach) == "InvalidNetworkInterface.InUse"
    assert code(ec2.delete_network_interface, NetworkInterfaceId=nic) == "InvalidParameterValue"
    ec2.modify_network_interface_attribute(NetworkInterfaceId=nic, Attachment={"AttachmentId": attachment, "DeleteOnTermination": True})
    address = ec2.allocate_address(Domain="vpc")
    ec2.associate_address(AllocationId=address["AllocationId"], NetworkInterfaceId=vm["NetworkInterfaces"][0]["NetworkInterfaceId"])
    assert code(ec2.release_address, AllocationId=address["AllocationId"]) == "InvalidIPAddress.InUse"
    shown = ec2.describe_instances(InstanceIds=[vm["InstanceId"]])["Reservations"][0]["Instances"][0]
    assert shown["PublicIpAddress"] == address["PublicIp"] and len(shown["NetworkInterfaces"]) == 2
    ec2.terminate_instances(InstanceIds=[vm["InstanceId"]])
    assert cloud.inventory() == {"volumes": [volume], "addresses": [address["AllocationId"]]}
    ec2.release_address(AllocationId=address["AllocationId"])
    ec2.delete_volume(VolumeId=volume)
    assert cloud.inventory() == {}


def test_limits_and_scripts(cloud):
    with Ec2(limits={"RunInstances": (0.001, 2)}) as slow:
        ec2 = client(slow)
        for _ in range(2):
            ec2.run_instances(**launch_of(slow))
        assert code(ec2.run_instances, **launch_of(slow)) == "RequestLimitExceeded"
        slow.script("TerminateInstances", Drop("after"))
        with pytest.raises(botocore.exceptions.ConnectionClosedError):
            ec2.terminate_instances(InstanceIds=[vm.id for vm in slow.live()])
        assert slow.inventory() == {}
    cloud.fail("DescribeInstances", "InternalError")
    cloud.denied.add("RunInstances")
    ec2 = client(cloud)
    assert code(ec2.describe_instances) == "InternalError"
    ec2.describe_instances()
    assert code(ec2.run_instances, **launch_of(cloud)) == "UnauthorizedOperation"


def test_credentials_come_from_sts_and_the_metadata_service(cloud):
    config = botocore.config.Config(signature_version=botocore.UNSIGNED)
    sts = botocore.session.get_session().create_client("sts", region_name=cloud.region, endpoint_url=cloud.url, config=config)
    role = {"RoleArn": next(iter(cloud.roles)), "RoleSessionName": "peerpods"}
    key = sts.assume_role_with_web_identity(WebIdentityToken="a.b.c", **role)["Credentials"]
    cloud.keys.pop(KEY)
    assert code(client(cloud).describe_instances) == "AuthFailure"
    assert cloud.keys[key["AccessKeyId"]][1] == key["SessionToken"]
    assert code(sts.assume_role_with_web_identity, WebIdentityToken="x.y.z", **role) == "ExpiredTokenException"
    cloud.give_place()
    url = cloud.url + "/latest/"
    assert urllib3.request("GET", url + "meta-data/mac").status == 401
    token = urllib3.request("PUT", url + "api/token", headers={"X-aws-ec2-metadata-token-ttl-seconds": "60"}).data.decode()
    assert urllib3.request("GET", url + "meta-data/mac", headers={"X-aws-ec2-metadata-token": token}).data == b"0a:00:00:00:00:01"
