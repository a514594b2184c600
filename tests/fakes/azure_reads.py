# SPDX-License-Identifier: Apache-2.0
"""What is only looked at in the fake Azure: groups, networks, images, sizes, quotas, permissions. azure.py mixes this in."""

from fakes.azure_names import GALLERY_IMAGE, IMAGE, NSG, REGION, RG
from fakes.azure_operations import COMPUTE, error
from fakes.server import Reply


class Reads:
    def do_get_group(self, call):
        return Reply(
            200, {"id": call.path, "name": call.parts["group"], "location": REGION, "properties": {"provisioningState": "Succeeded"}}
        )

    def do_get_subnet(self, call):
        if call.path.lower() not in self.subnets:
            raise error(404, "NotFound", f"Resource {call.path} not found.")
        document = {
            "id": call.path,
            "name": call.parts["name"],
            "properties": {"addressPrefix": "10.99.0.0/16", "provisioningState": "Succeeded"},
        }
        self.network.check("Subnet", document, False)
        return Reply(200, document)

    def do_get_nsg(self, call):
        if call.path.lower() != NSG.lower():
            raise error(404, "ResourceNotFound", f"The Resource {call.path} was not found.")
        return Reply(200, {"id": NSG, "name": "pods", "location": REGION, "properties": {"provisioningState": "Succeeded"}})

    def definition_document(self):
        features = [{"name": name, "value": value} for name, value in self.features.items()]
        return {**self.definition, "features": features, "identifier": {"publisher": "p", "offer": "o", "sku": "s"}}

    def do_get_image_definition(self, call):
        if call.path.lower() != GALLERY_IMAGE.lower():
            raise error(404, "ResourceNotFound", f"The Resource {call.path} was not found.")
        document = {"id": call.path, "name": call.parts["name"], "location": REGION, "properties": self.definition_document()}
        self.compute.check("GalleryImage", document, False)
        return Reply(200, document)

    def do_get_image_version(self, call):
        if call.path.lower() != IMAGE.lower():
            raise error(404, "ResourceNotFound", f"The Resource {call.path} was not found.")
        return Reply(
            200, {"id": call.path, "name": call.parts["name"], "location": REGION, "properties": {"provisioningState": "Succeeded"}}
        )

    def do_get_image(self, call):
        if call.path.lower() != f"{RG}{COMPUTE}/images/podvm".lower():
            raise error(404, "ResourceNotFound", f"The Resource {call.path} was not found.")
        return Reply(200, {"id": call.path, "name": call.parts["name"], "location": REGION, "properties": {"hyperVGeneration": "V2"}})

    def do_get_public_image(self, call):
        return Reply(200, {"name": call.parts["name"], "location": REGION, "properties": self.definition_document()})

    do_get_public_image_version = do_get_shared_image = do_get_shared_image_version = do_get_public_image

    def do_list_skus(self, call):
        if call.one("$filter") != f"location eq '{REGION}'":
            raise error(400, "InvalidFilter", f"only the filter by location is supported, not {call.one('$filter')}")
        for sku in self.skus:
            self.compute.check("ResourceSku", sku, False)
        return self.pages(call, self.skus)

    def do_list_usages(self, call):
        usages = [
            {"unit": "Count", "currentValue": used, "limit": limit, "name": {"value": name, "localizedValue": name}}
            for name, (used, limit) in self.usages.items()
        ]
        for usage in usages:
            self.compute.check("Usage", usage, False)
        return Reply(200, {"value": usages})

    def do_permissions(self, call):
        return Reply(200, {"value": self.allowed})
